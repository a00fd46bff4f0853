//! The receiving half.

use super::distance::{Distances, TooFar};
use super::{TAIL, WINDOW};
use alloc::boxed::Box;
use zlib_rs::{Inflate, InflateFlush, Status};

/// A decompressor: one DEFLATE stream, or several one after the other, with references held to an agreed window.
///
/// # Contract
///
/// - [`inflate`](Self::inflate) takes bytes as they come and fills what room it is given. What it did not take comes again, in front of what
///   follows; it may be called with nothing more to take, for what did not fit before.
/// - What was made before an error is given with it, so that any cut of the stream comes to the same end.
/// - [`finish`](Self::finish) says that the message is whole: what was cut off is put back, and the stream must then stand between two
///   blocks, with nothing left over.
/// - After an error it is [`reset`](Self::reset), or dropped.
/// - A block that says it is the last ends the stream (RFC 7692 section 7.2.3.4 allows such); what follows begins a new one, with an empty
///   window, as every compressor that ends a stream does.
pub(crate) struct Inflater {
    inner: Inflate,
    /// Nothing was taken since the last message, or since a stream ended within this one.
    fresh: bool,
    held: Option<Box<Held>>,
}

/// References held to a window.
struct Held {
    window: u8,
    distances: Distances,
    /// Bytes that were looked at here and not taken yet.
    ahead: usize,
    /// Behind those stands a reference that goes too far.
    too_far: bool,
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InflateError {
    /// Not a DEFLATE stream, or not a whole one.
    Corrupt,
    /// A reference beyond the window.
    TooFar,
}

/// What a call came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inflated {
    /// Bytes taken of those given.
    pub(crate) taken: usize,
    /// Bytes made, at the front of the room.
    pub(crate) made: usize,
    /// What is wrong behind what was made.
    pub(crate) error: Option<InflateError>,
}

impl Inflater {
    /// Bytes of memory that one takes, about (measured by a test).
    pub(crate) const SIZE: usize = 48 << 10;

    /// With references of at most `2^window` bytes.
    pub(crate) fn new(window: u8) -> Self {
        let mut inflater = Self { inner: Inflate::new(false, WINDOW), fresh: true, held: None };
        inflater.hold_to(window);
        inflater
    }

    /// Forgets the stream and its window.
    pub(crate) fn reset(&mut self) {
        // Gives the window that `new` gave: zlib-rs resets to its default, which is that one.
        self.inner.reset(false);
        self.fresh = true;
        if let Some(held) = &mut self.held {
            (held.ahead, held.too_far) = (0, false);
            held.distances.reset();
        }
    }

    /// Holds references to `2^window` bytes from now on: the beginning of a stream.
    pub(crate) fn hold_to(&mut self, window: u8) {
        if self.held.as_ref().map_or(WINDOW, |held| held.window) != window {
            self.held = (window < WINDOW).then(|| Box::new(Held::new(window)));
        }
    }

    /// Takes of `bytes` what it can, and fills `room`. Where `room` was filled there may be more to come, even if all was taken; where it
    /// was not, all that is there was taken and made, or there is an error.
    pub(crate) fn inflate(&mut self, bytes: &[u8], room: &mut [u8]) -> Inflated {
        let clear = self.held.as_mut().map_or(bytes.len(), |held| held.look(bytes));
        let mut all = Inflated::default();
        loop {
            let (now, ended) = self.step(&bytes[all.taken..clear], &mut room[all.made..], InflateFlush::NoFlush);
            all = Inflated { taken: all.taken + now.taken, made: all.made + now.made, error: now.error };
            if !ended || all.taken == clear {
                break;
            }
        }
        if let Some(held) = &mut self.held {
            held.ahead -= all.taken;
            if held.too_far && held.ahead == 0 && all.made < room.len() && all.error.is_none() {
                all.error = Some(InflateError::TooFar);
            }
        }
        if all.error.is_none() && all.made < room.len() && all.taken < bytes.len() {
            all.error = Some(InflateError::Corrupt);
        }
        all
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
        if self.held.as_mut().is_some_and(|held| held.distances.check(&TAIL).is_err()) {
            return Err(InflateError::TooFar);
        }
        // The lengths of an empty block make no output: a byte of it means that they were taken for data.
        let (now, _) = self.step(&PROBE, &mut [0], InflateFlush::Block);
        if now != (Inflated { taken: TAIL.len(), made: 0, error: None }) {
            return Err(InflateError::Corrupt);
        }
        self.fresh = true;
        Ok(())
    }

    /// One call of zlib's, and whether a stream ended with it.
    fn step(&mut self, bytes: &[u8], room: &mut [u8], flush: InflateFlush) -> (Inflated, bool) {
        let (taken, made) = (self.inner.total_in(), self.inner.total_out());
        let outcome = self.inner.decompress(bytes, room, flush);
        let now = Inflated {
            taken: (self.inner.total_in() - taken) as usize,
            made: (self.inner.total_out() - made) as usize,
            error: outcome.is_err().then_some(InflateError::Corrupt),
        };
        self.fresh &= now.taken == 0;
        let ended = outcome == Ok(Status::StreamEnd);
        if ended {
            self.inner.reset(false);
            self.fresh = true;
        }
        (now, ended)
    }
}

impl Held {
    fn new(window: u8) -> Self {
        Self { window, distances: Distances::new(window), ahead: 0, too_far: false }
    }

    /// Looks at what of `bytes` it has not seen, and gives how many stand before a reference that goes too far.
    fn look(&mut self, bytes: &[u8]) -> usize {
        let fresh = bytes.get(self.ahead..).unwrap_or_default();
        if self.too_far || fresh.is_empty() {
            return self.ahead.min(bytes.len());
        }
        let before = self.distances.clone();
        match self.distances.check(fresh) {
            Ok(()) => self.ahead += fresh.len(),
            Err(TooFar) => {
                // Once in a connection's life: where it stands is found byte by byte.
                self.distances = before;
                let at = fresh.chunks(1).position(|byte| self.distances.check(byte).is_err());
                self.ahead += at.unwrap_or(fresh.len());
                self.too_far = true;
            }
        }
        self.ahead.min(bytes.len())
    }
}

impl core::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Inflater").field("taken", &self.inner.total_in()).finish_non_exhaustive()
    }
}
