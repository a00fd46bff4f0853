//! The sending half.

use super::TAIL;
use alloc::boxed::Box;
use alloc::vec::Vec;
use zlib_rs::{Deflate, DeflateConfig, DeflateFlush};

/// How a compressor is made: what cannot be changed afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The logarithm of its window, 9 to 15.
    pub(crate) window: u8,
    /// zlib's level, 1 to 9.
    pub(crate) level: u8,
    /// zlib's `memLevel`, 1 to 9.
    pub(crate) memory: u8,
}

/// A compressor. Each message it makes ends at a byte.
pub(crate) struct Deflater {
    inner: Deflate,
    setting: Setting,
}

impl Deflater {
    pub(crate) fn new(setting: Setting) -> Self {
        let config = DeflateConfig {
            level: i32::from(setting.level),
            // Negative: without zlib's own header and trailer.
            window_bits: -i32::from(setting.window),
            mem_level: i32::from(setting.memory),
            ..DeflateConfig::default()
        };
        Self { inner: Deflate::new_with_config(config), setting }
    }

    /// Forgets what was compressed so far: nothing refers to it any more. Right at any time between two messages or two pieces of one, as
    /// whoever decompresses only keeps more than is needed then.
    pub(crate) fn reset(&mut self) {
        self.inner.reset();
    }

    /// Compresses `bytes`, and appends what they come to, up to and including the empty block that brings it to the end of a byte.
    pub(crate) fn deflate(&mut self, mut bytes: &[u8], to: &mut Scratch) {
        /// The least room for a call: an empty block and some.
        const LEAST: usize = 64;
        loop {
            // What does not get shorter gets little longer.
            let room = to.room(bytes.len() + bytes.len() / 8 + LEAST);
            let len = room.len();
            let (taken, made) = (self.inner.total_in(), self.inner.total_out());
            // An error would be a wrong setting, and those are checked; what stays uncompressed then is not lost silently: the message
            // ends where it stands, and the receiver refuses it.
            let outcome = self.inner.compress(bytes, room, DeflateFlush::SyncFlush);
            let taken = (self.inner.total_in() - taken) as usize;
            let made = (self.inner.total_out() - made) as usize;
            debug_assert!(outcome.is_ok());
            to.len += made;
            bytes = &bytes[taken..];
            // zlib: "If deflate returns with avail_out == 0, this function must be called again".
            if made < len || outcome.is_err() {
                return;
            }
        }
    }

    /// As [`deflate`](Self::deflate), for the end of a message: without the tail that the receiver puts back (RFC 7692 section 7.2.1).
    pub(crate) fn deflate_last(&mut self, bytes: &[u8], to: &mut Scratch) {
        let from = to.len;
        self.deflate(bytes, to);
        if to.bytes[from..to.len].ends_with(&TAIL) {
            to.len -= TAIL.len();
        } else if to.len == from {
            // Nothing since the last flush: the front of an empty block (section 7.2.3.6).
            to.room(1)[0] = 0;
            to.len += 1;
        }
    }
}

/// A buffer that keeps what it was filled with as slack, so that nothing is cleared again and again.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    bytes: Vec<u8>,
    len: usize,
}

impl Scratch {
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn room(&mut self, least: usize) -> &mut [u8] {
        if self.bytes.len() < self.len + least {
            self.bytes.resize(self.len + least, 0);
        }
        &mut self.bytes[self.len..]
    }
}

/// A thread's compressors, for connections that keep no context: a message borrows one and gives it back.
#[derive(Debug, Default)]
pub(crate) struct Deflaters {
    #[expect(clippy::vec_box, reason = "lent in the box that they came in")]
    free: Vec<Box<Deflater>>,
    scratch: Scratch,
}

impl Deflaters {
    /// Compressors kept: one for each window that clients may ask for, which mostly is one in all.
    const KEPT: usize = 7;

    /// Bytes of the scratch buffer kept.
    const SCRATCH: usize = 1 << 20;

    /// A compressor that has forgotten everything.
    pub(crate) fn take(&mut self, setting: Setting) -> Box<Deflater> {
        let found = self.free.iter().position(|deflater| deflater.setting == setting);
        let mut deflater = match found {
            Some(at) => self.free.remove(at),
            None => return Box::new(Deflater::new(setting)),
        };
        deflater.reset();
        deflater
    }

    /// Gives one back.
    pub(crate) fn give(&mut self, deflater: Box<Deflater>) {
        if self.free.len() == Self::KEPT {
            // The one that lay idle for longest: another setting has come up.
            self.free.remove(0);
        }
        self.free.push(deflater);
    }

    /// An empty buffer for what is compressed.
    pub(crate) fn take_scratch(&mut self) -> Scratch {
        let mut scratch = core::mem::take(&mut self.scratch);
        scratch.len = 0;
        scratch
    }

    pub(crate) fn give_scratch(&mut self, scratch: Scratch) {
        if scratch.bytes.len() <= Self::SCRATCH {
            self.scratch = scratch;
        }
    }
}

impl core::fmt::Debug for Deflater {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Deflater").field("setting", &self.setting).finish_non_exhaustive()
    }
}
