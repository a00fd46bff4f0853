//! The state of a connection that compresses.

use super::negotiate::{Deflate, Role, Takeover};
use crate::deflate::{Deflater, InflateError, Inflated, Inflater, Setting};
use crate::input::Input;
use crate::output::Output;
use crate::payload::{Assembly, Check, Key};
use crate::ws::error::Error;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// The most that DEFLATE makes of a byte (RFC 1951: two bits for 258 bytes, and one of them is never all there is).
const MOST_RATIO: u64 = 1032;

/// So much of a compressed message may wait before memory for decompressing it is taken.
const WAITING: u64 = 1024;

/// How much longer than its compressed form a message is thought to be: so much room is made at first. JSON is two to four times as long.
const RATIO: usize = 4;

/// More room than a message takes: near the end of it zlib-rs goes on byte by byte (the longest match, 258 bytes, and some).
const SLACK: usize = 320;

/// A piece of a message that is passed on in pieces: its compressed and its decompressed length.
const PIECE: (usize, usize) = (4 << 10, 16 << 10);

/// What a connection keeps of permessage-deflate.
#[derive(Debug)]
pub(in crate::ws) struct Session {
    pub(in crate::ws) deflate: Deflate,
    role: Role,
    /// The application's own fragments are being compressed.
    pub(in crate::ws) begun: bool,
    /// The kept context of this side, or what a begun message is compressed with.
    deflater: Option<Box<Deflater>>,
    /// The kept context of the peer's side.
    inflater: Option<Box<Inflater>>,
}

impl Session {
    pub(in crate::ws) fn new(deflate: Deflate, role: Role) -> Self {
        Self { deflate, role, begun: false, deflater: None, inflater: None }
    }

    /// How this side compresses, if it can.
    pub(in crate::ws) fn setting(&self) -> Option<Setting> {
        self.deflate.setting(self.role)
    }

    /// Whether a message of so many bytes is compressed.
    pub(in crate::ws) fn takes(&self, len: usize) -> bool {
        len >= self.deflate.threshold() && self.setting().is_some()
    }

    /// Whether this side's messages refer to those before.
    pub(in crate::ws) fn keeps_context(&self) -> bool {
        self.deflate.takeovers(self.role).0 == Takeover::Kept
    }

    /// How messages for many are compressed for this one, where they can be the same for all: a server's that keeps no context.
    pub(in crate::ws) fn sharing(&self) -> Option<Sharing> {
        let shares = self.role == Role::Server && !self.keeps_context();
        let setting = self.setting().filter(|_| shares)?;
        Some(Sharing { setting, threshold: self.deflate.threshold() })
    }

    /// The compressor for the next message, or the next piece of a begun one.
    pub(in crate::ws) fn take_deflater(&mut self, out: &mut Output) -> Option<Box<Deflater>> {
        let setting = self.setting()?;
        Some(match self.deflater.take() {
            Some(deflater) => deflater,
            None if self.keeps_context() => Box::new(Deflater::new(setting)),
            None => out.deflaters().take(setting),
        })
    }

    pub(in crate::ws) fn give_deflater(&mut self, deflater: Box<Deflater>, out: &mut Output) {
        if self.keeps_context() || self.begun {
            self.deflater = Some(deflater);
        } else {
            out.deflaters().give(deflater);
        }
    }

    fn take_inflater(&mut self, input: &mut Input<'_>) -> Box<Inflater> {
        let kept = self.inflater.take();
        kept.unwrap_or_else(|| input.take_inflater(self.deflate.peers_window(self.role)))
    }

    fn give_inflater(&mut self, inflater: Box<Inflater>, input: &mut Input<'_>) {
        match self.deflate.takeovers(self.role).1 {
            Takeover::Kept => self.inflater = Some(inflater),
            Takeover::None => input.give_inflater(inflater),
        }
    }
}

/// What the compressed form of a message for many depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sharing {
    pub(in crate::ws) setting: Setting,
    pub(in crate::ws) threshold: usize,
}

/// The rest of what is half-received, where it is compressed.
#[derive(Debug)]
pub(in crate::ws) struct Packed {
    inflater: Option<Box<Inflater>>,
    /// The message's first bytes: too few yet to be worth the memory of an inflater.
    waiting: Vec<u8>,
    /// Bytes made, where they are passed on in pieces.
    passed: u64,
    /// Bytes that may be made, in all.
    limit: u64,
}

impl Packed {
    /// A message of which nothing has come yet, to be held to so many bytes as they are made.
    pub(in crate::ws) fn new(limit: u64) -> Self {
        Self { inflater: None, waiting: Vec::new(), passed: 0, limit }
    }

    /// Bytes held.
    pub(in crate::ws) fn held(&self) -> usize {
        self.waiting.len()
    }

    pub(in crate::ws) fn give_back(self, input: &mut Input<'_>) {
        if let Some(inflater) = self.inflater {
            input.give_inflater(inflater);
        }
    }

    /// Takes the next `len` bytes, and appends what they come to.
    pub(in crate::ws) fn take<C: Check>(
        &mut self,
        (len, key): (usize, Key),
        ended: bool,
        to: &mut Assembly<C>,
        session: &mut Session,
        input: &mut Input<'_>,
    ) -> Result<(), Error> {
        let limit = self.limit;
        // So little cannot come to more than the limit, so that nothing is found out later than it can be. A message that came whole does
        // not wait.
        let may_wait = WAITING.min(limit / MOST_RATIO);
        let waits = !ended && (self.waiting.len() + len) as u64 <= may_wait && session.inflater.is_none();
        if self.inflater.is_none() && !waits {
            self.inflater = Some(session.take_inflater(input));
        }
        let bytes = input.take(len);
        crate::payload::unmask_binary(bytes, key);
        let Some(inflater) = &mut self.inflater else {
            self.waiting.extend_from_slice(bytes);
            return Ok(());
        };
        inflate(inflater, &core::mem::take(&mut self.waiting), to, limit)?;
        inflate(inflater, bytes, to, limit)?;
        if ended { self.finish(session, input) } else { Ok(()) }
    }
}

/// A piece of a message that is passed on.
pub(in crate::ws) struct Passed {
    /// What came of it, in a buffer of the thread's.
    pub(in crate::ws) data: Vec<u8>,
    /// Bytes taken of the input.
    pub(in crate::ws) taken: usize,
    /// Nothing more comes of what was taken.
    pub(in crate::ws) dry: bool,
    /// What is wrong behind the data.
    pub(in crate::ws) error: Option<Error>,
}

impl Packed {
    /// Takes some of the next `len` bytes, for a message of which nothing is kept.
    pub(in crate::ws) fn pass(
        &mut self,
        (len, key): (usize, Key),
        session: &mut Session,
        input: &mut Input<'_>,
    ) -> Passed {
        let inflater = self.inflater.get_or_insert_with(|| session.take_inflater(input));
        let mut data = input.take_stale_buffer();
        // One byte more than may come, so that it shows.
        let most = self.limit.saturating_add(1).saturating_sub(self.passed);
        data.resize(usize::try_from(most).unwrap_or(usize::MAX).min(PIECE.1), 0);
        let bytes = input.peek(len.min(PIECE.0));
        crate::payload::unmask_binary(bytes, key);
        let Inflated { taken, made, error } = inflater.inflate(bytes, &mut data);
        // What was not taken comes again, as it was.
        crate::payload::unmask_binary(&mut bytes[taken..], key.after(taken));
        input.skip(taken);
        let dry = made < data.len();
        data.truncate(made);
        self.passed += made as u64;
        let error = if self.passed > self.limit { Some(Error::MessageTooBig) } else { error.map(Error::from) };
        Passed { data, taken, dry, error }
    }

    /// Ends a message that was passed on.
    pub(in crate::ws) fn finish(&mut self, session: &mut Session, input: &mut Input<'_>) -> Result<(), Error> {
        if let Some(mut inflater) = self.inflater.take() {
            inflater.finish()?;
            session.give_inflater(inflater, input);
        }
        Ok(())
    }
}

/// Appends what `bytes` come to.
fn inflate<C: Check>(inflater: &mut Inflater, mut bytes: &[u8], to: &mut Assembly<C>, limit: u64) -> Result<(), Error> {
    loop {
        // One byte more than may come, so that it shows.
        let most = limit.saturating_add(1).saturating_sub(to.len() as u64);
        let wanted = bytes.len().saturating_mul(RATIO) + SLACK;
        let room = to.room((SLACK, wanted), usize::try_from(most).unwrap_or(usize::MAX));
        let len = room.len();
        let Inflated { taken, made, error } = inflater.inflate(bytes, room);
        to.filled(made, Key::NONE).map_err(|_| Error::InvalidUtf8)?;
        if to.len() as u64 > limit {
            return Err(Error::MessageTooBig);
        }
        if let Some(error) = error {
            return Err(error.into());
        }
        bytes = &bytes[taken..];
        if made < len {
            return Ok(());
        }
    }
}

impl From<InflateError> for Error {
    fn from(error: InflateError) -> Self {
        match error {
            InflateError::Corrupt => Self::CorruptDeflate,
            InflateError::TooFar => Self::BeyondWindow,
        }
    }
}
