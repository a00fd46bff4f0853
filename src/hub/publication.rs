//! A publication that has its place: encoded once, framed once per transport, shared by all who get it.

use crate::http::response::push_chunk_shared;
use crate::hub::cursor::{Cursor, Position};
use crate::hub::entry::Entry;
use crate::hub::history::Retain;
use crate::hub::session::SessionId;
use crate::output::{Full, Output};
use crate::ws::Prepared;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
#[cfg(not(feature = "std"))]
use core::cell::OnceCell as Once;
#[cfg(feature = "std")]
use std::sync::OnceLock as Once;

/// An [`Entry`] at its position: what [`Desk::apply`](super::Desk::apply) puts into the topics.
///
/// Its event-stream block, and the block as each transport frames it, are made when the first subscriber needs them, and are the same
/// bytes for all others. With feature `std` any thread may be the first.
#[derive(Debug)]
pub struct Publication {
    cursor: Cursor,
    entry: Entry,
    except: Option<SessionId>,
    compressing: Compressing,
    block: Once<Bytes>,
    message: Once<Prepared>,
    chunk: Once<Bytes>,
}

/// Whether what a topic carries may be compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compressing {
    /// Where the connection compresses.
    #[default]
    Allowed,
    /// Never: secrets beside text that others choose tell themselves by their compressed length.
    Never,
}

impl Publication {
    /// An entry at its place. `except`: the session that does not get it, now or in replay.
    pub fn new(cursor: Cursor, entry: Entry, except: Option<SessionId>, compressing: Compressing) -> Self {
        Self { cursor, entry, except, compressing, block: Once::new(), message: Once::new(), chunk: Once::new() }
    }

    /// Its place in the order of everything.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// What was published.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// The session that does not get it.
    pub fn except(&self) -> Option<SessionId> {
        self.except
    }

    /// The event-stream block.
    pub fn block(&self) -> &Bytes {
        self.block.get_or_init(|| self.entry.block(self.cursor))
    }

    /// The block as a WebSocket's text message.
    pub fn message(&self) -> &Prepared {
        self.message.get_or_init(|| {
            // It was encoded out of `str`s.
            let message = Prepared::text(core::str::from_utf8(self.block()).unwrap_or_default());
            match self.compressing {
                Compressing::Allowed => message,
                #[cfg(feature = "deflate")]
                Compressing::Never => message.uncompressed(),
                #[cfg(not(feature = "deflate"))]
                Compressing::Never => message,
            }
        })
    }

    /// The block as a chunk of a chunked response (RFC 9112 section 7.1).
    pub fn chunk(&self) -> &Bytes {
        self.chunk.get_or_init(|| as_chunk(self.block()).unwrap_or_default())
    }
}

impl Retain for Arc<Publication> {
    fn position(&self) -> Position {
        self.cursor.position
    }

    fn bytes(&self) -> usize {
        size_of::<Publication>() + self.entry.bytes()
    }

    fn slot(&self) -> &str {
        self.entry.slot()
    }
}

/// What a hub carries: a publication, or something that holds one.
pub trait Carry: Retain {
    /// The publication; `None` for what only travels along and is no event of the hub's.
    fn publication(&self) -> Option<&Publication>;
}

impl Carry for Arc<Publication> {
    fn publication(&self) -> Option<&Publication> {
        Some(self)
    }
}

/// Frames a block. The output's limit is that of the block, so it fits.
pub(crate) fn as_chunk(block: &Bytes) -> Result<Bytes, Full> {
    /// The size in hex and two line ends.
    const FRAME: usize = 16 + 4;
    let mut out = Output::with_limit(block.len() + FRAME);
    push_chunk_shared(block, &mut out)?;
    Ok(out.chunks().collect::<Vec<_>>().concat().into())
}
