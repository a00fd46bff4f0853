//! The receiving half.

use super::{TAIL, WINDOW};
use zlib_rs::{Inflate, InflateFlush, Status};

/// A decompressor: one DEFLATE stream, or several one after the other.
///
/// # Contract
///
/// - [`inflate`](Self::inflate) takes bytes as they come and fills what room it is given; it may be called with nothing more to take, for
///   what did not fit before.
/// - [`finish`](Self::finish) says that the message is whole: what was cut off is put back, and the stream must then stand between two
///   blocks, with nothing left over.
/// - After an error it is [`reset`](Self::reset), or dropped.
/// - A block that says it is the last ends the stream (RFC 7692 section 7.2.3.4 allows such); what follows begins a new one, with an empty
///   window, as every compressor that ends a stream does.
pub(crate) struct Inflater {
    inner: Inflate,
    /// Nothing was taken since the last message, or since a stream ended within this one.
    fresh: bool,
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InflateError {
    /// Not a DEFLATE stream, or not a whole one.
    Corrupt,
}

/// What a call came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inflated {
    /// Bytes taken of those given.
    pub(crate) taken: usize,
    /// Bytes made, at the front of the room.
    pub(crate) made: usize,
}

impl Inflater {
    /// Bytes of memory that one takes, about (measured by a test).
    pub(crate) const SIZE: usize = 48 << 10;

    pub(crate) fn new() -> Self {
        Self { inner: Inflate::new(false, WINDOW), fresh: true }
    }

    /// Forgets the stream and its window.
    pub(crate) fn reset(&mut self) {
        // Gives the window that `new` gave: zlib-rs resets to its default, which is that one.
        self.inner.reset(false);
        self.fresh = true;
    }

    /// Takes of `bytes` what it can, and fills `room`. Where `room` was filled there may be more to come, even if all was taken.
    pub(crate) fn inflate(&mut self, bytes: &[u8], room: &mut [u8]) -> Result<Inflated, InflateError> {
        let mut all = Inflated { taken: 0, made: 0 };
        loop {
            let (now, status) = self.step(&bytes[all.taken..], &mut room[all.made..], InflateFlush::NoFlush)?;
            all.taken += now.taken;
            all.made += now.made;
            match status {
                Status::StreamEnd if all.taken < bytes.len() => {}
                _ => return Ok(all),
            }
        }
    }

    /// Ends a message, after all of it was taken and all that came of it was made.
    pub(crate) fn finish(&mut self) -> Result<(), InflateError> {
        /// With one byte more: it is left alone where the stream stands between two blocks, and nowhere else.
        const PROBE: [u8; TAIL.len() + 1] = [0, 0, 0xff, 0xff, 0];
        debug_assert_eq!(PROBE[..TAIL.len()], TAIL);
        // An empty payload, or one that ended with its stream, has no block that wants its end.
        if self.fresh {
            return Ok(());
        }
        // The lengths of an empty block make no output: a byte of it means that they were taken for data.
        let (now, _) = self.step(&PROBE, &mut [0], InflateFlush::Block)?;
        if now != (Inflated { taken: TAIL.len(), made: 0 }) {
            return Err(InflateError::Corrupt);
        }
        self.fresh = true;
        Ok(())
    }

    fn step(&mut self, bytes: &[u8], room: &mut [u8], flush: InflateFlush) -> Result<(Inflated, Status), InflateError> {
        let (taken, made) = (self.inner.total_in(), self.inner.total_out());
        let status = self.inner.decompress(bytes, room, flush).map_err(|_| InflateError::Corrupt)?;
        let now = Inflated {
            taken: (self.inner.total_in() - taken) as usize,
            made: (self.inner.total_out() - made) as usize,
        };
        self.fresh &= now.taken == 0;
        if status == Status::StreamEnd {
            self.reset();
        }
        Ok((now, status))
    }
}

impl core::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Inflater").field("taken", &self.inner.total_in()).finish_non_exhaustive()
    }
}
