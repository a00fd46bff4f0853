//! What travels between workers: publications, each encoded once per transport and shared by reference.

use super::peer::PeerId;
use crate::hub::{
    Carry, Compressing, Cursor, Entry, Keys, KeysLimits, LogId, Owner, Position, Publication, Reader, Retain, Sequence,
    SequenceFull, SequenceLimits, Sequencer, SessionId, as_chunk,
};
use crate::time::Instant;
use crate::ws::Prepared;
use bytes::Bytes;
use std::boxed::Box;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::vec::Vec;

/// Something that was published: its place in the order of everything, and its encodings, each made when a worker first needs it.
pub struct Published {
    cursor: Cursor,
    except: Option<PeerId>,
    what: What,
}

enum What {
    Event(Publication),
    Raw(Raw),
}

/// What is no event of the hub's.
struct Raw {
    topic: Box<str>,
    content: RawContent,
    message: OnceLock<Prepared>,
    chunk: OnceLock<Bytes>,
}

enum RawContent {
    Block(Bytes),
    Message(Prepared),
}

/// What is to be published.
pub(crate) enum Content {
    /// An event of the hub's: its block has the cursor as its id. Kept from a session, perhaps.
    Event(Entry, Option<SessionId>, Compressing),
    /// A block as it is, for event streams; WebSockets get it as a text message.
    Block(Bytes),
    /// A message for WebSockets alone.
    Message(Prepared),
}

impl Content {
    fn len(&self) -> usize {
        match self {
            Self::Event(entry, ..) => entry.bytes(),
            Self::Block(block) => block.len(),
            Self::Message(message) => message.frame().len(),
        }
    }
}

impl Published {
    fn new(cursor: Cursor, topic: &str, except: Option<PeerId>, content: Content) -> Self {
        let raw =
            |content| What::Raw(Raw { topic: topic.into(), content, message: OnceLock::new(), chunk: OnceLock::new() });
        let what = match content {
            Content::Event(entry, session, compressing) => {
                What::Event(Publication::new(cursor, entry, session, compressing))
            }
            Content::Block(block) => raw(RawContent::Block(block)),
            Content::Message(message) => raw(RawContent::Message(message)),
        };
        Self { cursor, except, what }
    }

    /// Its position in the order of everything published.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        match &self.what {
            What::Event(publication) => publication.entry().topic(),
            What::Raw(raw) => &raw.topic,
        }
    }

    /// The hub's publication, where it is one.
    pub fn publication(&self) -> Option<&Publication> {
        match &self.what {
            What::Event(publication) => Some(publication),
            What::Raw(_) => None,
        }
    }

    /// Its event type, where it is an event of the hub's.
    pub fn event(&self) -> Option<&str> {
        Some(self.publication()?.entry().event())
    }

    /// Its data, where it is an event of the hub's: for answers in another form than the block.
    pub fn data(&self) -> Option<&str> {
        Some(self.publication()?.entry().data())
    }

    /// Whom it is kept from: its sender, where that was asked for.
    pub fn except(&self) -> Option<PeerId> {
        self.except
    }

    /// Whether it is for all subscribers.
    pub(crate) fn is_for_all(&self) -> bool {
        self.except.is_none() && self.publication().is_none_or(|publication| publication.except().is_none())
    }

    /// Bytes of its payload, about.
    pub(crate) fn len(&self) -> usize {
        match &self.what {
            What::Event(publication) => publication.entry().bytes(),
            What::Raw(Raw { content: RawContent::Block(block), .. }) => block.len(),
            What::Raw(Raw { content: RawContent::Message(message), .. }) => message.frame().len(),
        }
    }

    /// The event-stream block; `None` for a message that is only for WebSockets.
    pub fn block(&self) -> Option<&Bytes> {
        match &self.what {
            What::Event(publication) => Some(publication.block()),
            What::Raw(Raw { content: RawContent::Block(block), .. }) => Some(block),
            What::Raw(Raw { content: RawContent::Message(_), .. }) => None,
        }
    }

    /// What WebSockets get.
    pub(crate) fn message(&self) -> &Prepared {
        match &self.what {
            What::Event(publication) => publication.message(),
            What::Raw(Raw { content: RawContent::Message(message), .. }) => message,
            What::Raw(Raw { content: RawContent::Block(block), message, .. }) => {
                // It was encoded by this crate out of `str`s.
                message.get_or_init(|| Prepared::text(std::str::from_utf8(block).unwrap_or_default()))
            }
        }
    }

    /// The block as a chunk of a chunked response (RFC 9112 section 7.1).
    pub(crate) fn chunk(&self) -> Option<&Bytes> {
        match &self.what {
            What::Event(publication) => Some(publication.chunk()),
            What::Raw(Raw { content: RawContent::Block(block), chunk, .. }) => {
                Some(chunk.get_or_init(|| as_chunk(block).unwrap_or_default()))
            }
            What::Raw(Raw { content: RawContent::Message(_), .. }) => None,
        }
    }
}

impl Retain for Arc<Published> {
    fn position(&self) -> Position {
        self.cursor.position
    }

    fn bytes(&self) -> usize {
        size_of::<Published>() + self.len()
    }

    fn slot(&self) -> &str {
        self.publication().map_or("", |publication| publication.entry().slot())
    }
}

impl Carry for Arc<Published> {
    fn publication(&self) -> Option<&Publication> {
        Published::publication(self)
    }
}

/// The one order of everything published in this process, read by each worker from its own place.
pub(crate) struct Log {
    state: Mutex<LogState>,
    id: LogId,
    /// Publications so far, so that a worker with nothing to read need not take the lock.
    appended: AtomicU64,
    /// Bytes that some worker has not read.
    unread: AtomicUsize,
}

struct LogState {
    sequencer: Sequencer,
    sequence: Sequence<Arc<Published>>,
    keys: Keys,
}

/// Who publishes, and as what.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sender<'a> {
    /// The connection that does not get it.
    pub(crate) except: Option<PeerId>,
    /// What makes it the same publication when it comes again.
    pub(crate) key: Option<(Owner, &'a str)>,
}

/// What became of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    New(Cursor),
    /// One with the same key was published before.
    Before(Cursor),
}

impl Appended {
    pub(crate) fn cursor(self) -> Cursor {
        match self {
            Self::New(cursor) | Self::Before(cursor) => cursor,
        }
    }
}

impl Log {
    /// The log begins at `unix_ms`.
    pub(crate) fn new(id: LogId, unix_ms: u64, limits: SequenceLimits, keys: KeysLimits) -> Self {
        let mut sequencer = Sequencer::new(id);
        // What came before was never here.
        let _ = sequencer.next(unix_ms);
        let state = LogState { sequencer, sequence: Sequence::new(limits), keys: Keys::new(keys) };
        Self { state: Mutex::new(state), id, appended: AtomicU64::new(0), unread: AtomicUsize::new(0) }
    }

    /// Gives the content its position and appends it: the one critical section of publishing.
    pub(crate) fn append(
        &self,
        (unix_ms, now): (u64, Instant),
        topic: &str,
        sender: Sender<'_>,
        content: Content,
    ) -> Result<Appended, SequenceFull> {
        let len = content.len();
        let mut state = self.lock();
        if let Some((owner, key)) = sender.key
            && let Ok(Some(position)) = state.keys.check(owner, key, now)
        {
            return Ok(Appended::Before(state.sequencer.cursor(position)));
        }
        state.sequence.room_for(len)?;
        let position = state.sequencer.next(unix_ms);
        let cursor = state.sequencer.cursor(position);
        let published = Published::new(cursor, topic, sender.except, content);
        state.sequence.push(Arc::new(published), len)?;
        if let Some((owner, key)) = sender.key {
            // One that is none was never checked, and is forgotten.
            let _ = state.keys.remember(owner, key, position, now);
        }
        self.unread.store(state.sequence.bytes(), Ordering::Relaxed);
        self.appended.fetch_add(1, Ordering::Release);
        Ok(Appended::New(cursor))
    }

    pub(crate) fn appended(&self) -> u64 {
        self.appended.load(Ordering::Acquire)
    }

    /// Bytes of publications that some worker has not read.
    pub(crate) fn unread(&self) -> usize {
        self.unread.load(Ordering::Relaxed)
    }

    pub(crate) fn id(&self) -> LogId {
        self.id
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
        let mut state = self.lock();
        let count = state.sequence.read(reader, at_most, into);
        self.unread.store(state.sequence.bytes(), Ordering::Relaxed);
        count
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LogState> {
        // Nothing in the critical section can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
