//! What travels between workers: publications, each encoded once per transport and shared by reference.

use super::peer::PeerId;
use crate::http::response::push_chunk_shared;
use crate::hub::{Cursor, Entry, LogId, Reader, Sequence, SequenceFull, SequenceLimits, Sequencer};
use crate::output::{Full, Output};
use crate::ws::Prepared;
use bytes::Bytes;
use std::boxed::Box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::vec::Vec;

/// Something that was published: its place in the order of everything, and its encodings, each made when a worker first needs it.
pub struct Published {
    cursor: Cursor,
    topic: Box<str>,
    except: Option<PeerId>,
    content: Content,
    block: OnceLock<Bytes>,
    message: OnceLock<Prepared>,
    chunk: OnceLock<Bytes>,
}

/// What a publication carries.
pub(crate) enum Content {
    /// An event of the hub's: its block has the cursor as its id.
    Event(Entry),
    /// A block as it is, for event streams; WebSockets get it as a text message.
    Block(Bytes),
    /// A message for WebSockets alone.
    Message(Prepared),
}

impl Content {
    fn len(&self) -> usize {
        match self {
            Self::Event(entry) => entry.bytes(),
            Self::Block(block) => block.len(),
            Self::Message(message) => message.frame().len(),
        }
    }
}

impl Published {
    /// Its position in the order of everything published.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Its event type, where it is an event of the hub's.
    pub fn event(&self) -> Option<&str> {
        match &self.content {
            Content::Event(entry) => Some(entry.event()),
            Content::Block(_) | Content::Message(_) => None,
        }
    }

    /// Its data, where it is an event of the hub's: for answers in another form than the block.
    pub fn data(&self) -> Option<&str> {
        match &self.content {
            Content::Event(entry) => Some(entry.data()),
            Content::Block(_) | Content::Message(_) => None,
        }
    }

    /// Whom it is kept from: its sender, where that was asked for.
    pub fn except(&self) -> Option<PeerId> {
        self.except
    }

    /// Bytes of its payload, about.
    pub(crate) fn len(&self) -> usize {
        self.content.len()
    }

    /// The event-stream block; `None` for a message that is only for WebSockets.
    pub fn block(&self) -> Option<&Bytes> {
        match &self.content {
            Content::Event(entry) => Some(self.block.get_or_init(|| entry.block(self.cursor))),
            Content::Block(block) => Some(block),
            Content::Message(_) => None,
        }
    }

    /// What WebSockets get.
    pub(crate) fn message(&self) -> &Prepared {
        match (&self.content, self.block()) {
            (Content::Message(message), _) => message,
            // Encoded by this crate out of `str`s, or handed in as one.
            (_, block) => self.message.get_or_init(|| {
                let block = block.and_then(|block| std::str::from_utf8(block).ok());
                Prepared::text(block.unwrap_or_default())
            }),
        }
    }

    /// The block as a chunk of a chunked response (RFC 9112 section 7.1).
    pub(crate) fn chunk(&self) -> Option<&Bytes> {
        let block = self.block()?;
        Some(self.chunk.get_or_init(|| as_chunk(block).unwrap_or_default()))
    }
}

/// Frames a block. The output's limit is that of the block, so it fits.
fn as_chunk(block: &Bytes) -> Result<Bytes, Full> {
    /// The size in hex and two line ends.
    const FRAME: usize = 16 + 4;
    let mut out = Output::with_limit(block.len() + FRAME);
    push_chunk_shared(block, &mut out)?;
    Ok(out.chunks().collect::<Vec<_>>().concat().into())
}

/// The one order of everything published in this process, read by each worker from its own place.
pub(crate) struct Log {
    state: Mutex<LogState>,
    /// Publications so far, so that a worker with nothing to read need not take the lock.
    appended: AtomicU64,
}

struct LogState {
    sequencer: Sequencer,
    sequence: Sequence<Arc<Published>>,
}

impl Log {
    pub(crate) fn new(log: LogId, limits: SequenceLimits) -> Self {
        let state = LogState { sequencer: Sequencer::new(log), sequence: Sequence::new(limits) };
        Self { state: Mutex::new(state), appended: AtomicU64::new(0) }
    }

    /// Gives the content its position and appends it: the one critical section of publishing.
    pub(crate) fn append(
        &self,
        unix_ms: u64,
        topic: &str,
        except: Option<PeerId>,
        content: Content,
    ) -> Result<Cursor, SequenceFull> {
        let topic = Box::from(topic);
        let len = content.len();
        let mut state = self.lock();
        state.sequence.room_for(len)?;
        let position = state.sequencer.next(unix_ms);
        let cursor = state.sequencer.cursor(position);
        let published = Published {
            cursor,
            topic,
            except,
            content,
            block: OnceLock::new(),
            message: OnceLock::new(),
            chunk: OnceLock::new(),
        };
        state.sequence.push(Arc::new(published), len)?;
        self.appended.fetch_add(1, Ordering::Release);
        Ok(cursor)
    }

    pub(crate) fn appended(&self) -> u64 {
        self.appended.load(Ordering::Acquire)
    }

    pub(crate) fn head(&self) -> Cursor {
        let state = self.lock();
        state.sequencer.cursor(state.sequencer.head())
    }

    /// A reader of everything from now on, how many publications came before, and the position of the last of them.
    pub(crate) fn add_reader(&self) -> (Reader, u64, Cursor) {
        let mut state = self.lock();
        // Under the lock: between the three nothing is published.
        let reader = state.sequence.add_reader();
        (reader, self.appended(), state.sequencer.cursor(state.sequencer.head()))
    }

    pub(crate) fn remove_reader(&self, reader: Reader) {
        self.lock().sequence.remove_reader(reader);
    }

    pub(crate) fn read(&self, reader: Reader, at_most: usize, into: &mut Vec<Arc<Published>>) -> usize {
        self.lock().sequence.read(reader, at_most, into)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LogState> {
        // Nothing in the critical section can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
