//! Every way in but the fast one: frames in pieces, messages in fragments, control frames, the end.
//!
//! [`Connection::receive`] first finds out what comes next without lending anything ([`Found`]), then lends it. What is
//! half-received stands in [`Open`], which a connection has only while it needs it.

use super::close::{self, Closed, Ending, NO_CODE};
use super::config::{Delivery, Replies};
use super::connection::{Connection, State};
#[cfg(feature = "deflate")]
use super::deflate::{Packed, Passed, Session};
use super::error::Error;
use super::event::{Chunk, Event, Kind, Part};
use super::header::{self, Header, MAX, Opcode, Progress};
use crate::input::Input;
use crate::output::Output;
use crate::payload::{self, Assembly, Key, Unchecked, Utf8};
use crate::time::Instant;
use alloc::vec::Vec;

/// What is half-received: a header, a frame, a message, or a control frame inside a message.
#[derive(Debug, Default)]
pub(super) struct Open {
    header: [u8; MAX],
    header_len: usize,
    frame: Option<Frame>,
    message: Option<Message>,
    /// The payload of a half-received control frame: 125 bytes at most.
    control: Vec<u8>,
    /// permessage-deflate, where it was agreed upon.
    #[cfg(feature = "deflate")]
    pub(super) session: Option<Session>,
}

/// A frame whose header was read.
#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: Opcode,
    fin: bool,
    key: Key,
    remaining: u64,
}

/// A message of which at least one header was read.
#[derive(Debug)]
struct Message {
    kind: Kind,
    progress: Progress,
    body: Body,
    #[cfg(feature = "deflate")]
    packed: Option<Packed>,
}

/// What is kept of a message.
#[derive(Debug)]
enum Body {
    Text(Assembly<Utf8>),
    Binary(Assembly<Unchecked>),
    /// Nothing: it is passed on in chunks.
    Passed {
        utf8: Utf8,
        first: bool,
    },
}

/// What comes next, before it is lent. The bytes that are "here" are the next ones in the input.
enum Found {
    Nothing,
    WholeHere {
        kind: Kind,
        len: usize,
        key: Key,
    },
    Assembled(Body),
    ChunkHere {
        kind: Kind,
        len: usize,
        part: Part,
    },
    #[cfg(feature = "deflate")]
    Chunk {
        kind: Kind,
        data: Vec<u8>,
        part: Part,
    },
    ControlHere {
        opcode: Opcode,
        len: usize,
        key: Key,
    },
    Control {
        opcode: Opcode,
        payload: Vec<u8>,
    },
}

impl Connection {
    /// [`next_event`](Connection::next_event) in full: right for every input and every state.
    #[inline(never)]
    pub(super) fn receive<'i>(
        &mut self,
        input: &'i mut Input<'_>,
        out: &mut Output,
        now: Instant,
    ) -> Result<Option<Event<'i>>, Error> {
        input.reclaim();
        if !matches!(self.state, State::Open | State::Closing(_)) {
            // 5.5.1: data behind a Close frame is not looked at.
            input.skip_all();
            return Ok(self.report_end().map(Event::Closed));
        }
        if input.is_empty() && !self.open.as_ref().is_some_and(|open| open.is_frame_complete()) {
            return Ok(None);
        }
        self.hear(now);
        if self.open.as_ref().is_some_and(|open| open.is_inside_data()) {
            self.hear_message(now);
        }
        let found = self.find(input, now);
        self.tidy();
        match found {
            Ok(Found::Nothing) => Ok(None),
            Ok(Found::WholeHere { kind: Kind::Text, len, key }) => match payload::unmask_text(input.take(len), key) {
                Ok(text) => Ok(Some(Event::Text(text))),
                Err(_) => Err(self.fail(Error::InvalidUtf8, out)),
            },
            Ok(Found::WholeHere { kind: Kind::Binary, len, key }) => {
                let payload = input.take(len);
                payload::unmask_binary(payload, key);
                Ok(Some(Event::Binary(payload)))
            }
            Ok(Found::Assembled(Body::Text(text))) => match text.finish() {
                Ok(text) => Ok(Some(Event::Text(input.lend_text(text)))),
                Err(_) => Err(self.fail(Error::InvalidUtf8, out)),
            },
            Ok(Found::Assembled(Body::Binary(bytes))) => Ok(Some(Event::Binary(input.lend_binary(bytes.finish())))),
            Ok(Found::Assembled(Body::Passed { .. })) => Ok(None),
            Ok(Found::ChunkHere { kind, len, part }) => {
                Ok(Some(Event::Chunk(Chunk { kind, data: input.take(len), part })))
            }
            #[cfg(feature = "deflate")]
            Ok(Found::Chunk { kind, data, part }) => {
                Ok(Some(Event::Chunk(Chunk { kind, data: input.lend_binary(data), part })))
            }
            Ok(Found::ControlHere { opcode, len, key }) => {
                let payload = input.take(len);
                payload::unmask_binary(payload, key);
                self.control_frame(opcode, payload, out, now).map(Some)
            }
            Ok(Found::Control { opcode, payload }) => {
                let payload = input.lend_binary(payload);
                self.control_frame(opcode, payload, out, now).map(Some)
            }
            Err(error) => {
                input.skip_all();
                if let Some(open) = self.open.take() {
                    open.give_back(input);
                }
                Err(self.fail(error, out))
            }
        }
    }

    /// Room to read the next bytes into, where that saves a copy: inside a long frame, right behind what was assembled of it.
    /// What is read there is told to [`filled`](Self::filled).
    ///
    /// A reader asks before each read; with a vectored read the rest of the frame goes here and what follows into the usual
    /// buffer, in one system call. Where the answer is `None` it reads into its usual buffer alone. Nothing is lost by never asking,
    /// but that the bytes of a long frame are copied once more. The room is never longer than what has come of the message.
    #[inline(always)]
    pub fn spare(&mut self) -> Option<&mut [u8]> {
        if self.open.is_some() { self.spare_of_open() } else { None }
    }

    fn spare_of_open(&mut self) -> Option<&mut [u8]> {
        if !matches!(self.state, State::Open | State::Closing(_)) {
            return None;
        }
        let open = self.open.as_mut()?;
        let frame = open.frame.filter(|frame| !frame.opcode.is_control())?;
        let message = open.message.as_mut()?;
        #[cfg(feature = "deflate")]
        if message.packed.is_some() {
            return None;
        }
        match &mut message.body {
            Body::Text(text) => text.spare(frame.remaining),
            Body::Binary(bytes) => bytes.spare(frame.remaining),
            Body::Passed { .. } => None,
        }
    }

    /// Takes the first `n` bytes of what [`spare`](Self::spare) last lent. Then [`next_event`](Self::next_event) goes on, with an empty
    /// `Input` where nothing else was read.
    ///
    /// # Errors
    ///
    /// As [`next_event`](Self::next_event).
    pub fn filled(&mut self, n: usize, out: &mut Output, now: Instant) -> Result<(), Error> {
        if self.spare().is_none_or(|spare| n > spare.len()) {
            return Ok(());
        }
        self.hear(now);
        self.hear_message(now);
        let Some((frame, message)) = self.open.as_mut().and_then(|open| open.frame.as_mut().zip(open.message.as_mut()))
        else {
            return Ok(());
        };
        let key = frame.key;
        frame.key = key.after(n);
        frame.remaining -= n as u64;
        let outcome = match &mut message.body {
            Body::Text(text) => text.filled(n, key),
            Body::Binary(bytes) => bytes.filled(n, key),
            Body::Passed { .. } => Ok(()),
        };
        outcome.map_err(|_| self.fail(Error::InvalidUtf8, out))
    }

    /// Takes headers and pieces until there is something to report or the input is used up.
    fn find(&mut self, input: &mut Input<'_>, now: Instant) -> Result<Found, Error> {
        loop {
            if let Some(open) = self.open.as_mut()
                && open.frame.is_some()
            {
                match open.go_on(input)? {
                    Some(found) => return Ok(found),
                    None if input.is_empty() => return Ok(Found::Nothing),
                    None => continue,
                }
            }
            let Some(header) = self.header(input)? else { return Ok(Found::Nothing) };
            if let Some(found) = self.enter(header, input, now)? {
                return Ok(found);
            }
        }
    }

    /// The next header, if all of it is there. One that a read cut is collected in `Open`.
    fn header(&mut self, input: &mut Input<'_>) -> Result<Option<Header>, Error> {
        let kept = self.open.as_ref().map_or(0, |open| open.header_len);
        if kept == 0 {
            if let Some(header) = header::read(input.rest(), self.rules())? {
                input.skip(header.len);
                return Ok(Some(header));
            }
            if input.is_empty() {
                return Ok(None);
            }
        }
        let open = self.open.get_or_insert_default();
        let new = input.rest().len().min(MAX - kept);
        let (mut bytes, len) = (open.header, kept + new);
        bytes[kept..len].copy_from_slice(&input.rest()[..new]);
        match header::read(&bytes[..len], self.rules())? {
            Some(header) => {
                input.skip(header.len - kept);
                self.open.get_or_insert_default().header_len = 0;
                Ok(Some(header))
            }
            None => {
                input.skip(new);
                let open = self.open.get_or_insert_default();
                (open.header, open.header_len) = (bytes, len);
                Ok(None)
            }
        }
    }

    /// Begins the frame behind `header`, which was taken. What lies whole in the input needs no state.
    fn enter(&mut self, header: Header, input: &mut Input<'_>, now: Instant) -> Result<Option<Found>, Error> {
        let Header { opcode, fin, compressed, payload, .. } = header;
        let key = Key::new(header.key);
        let here = usize::try_from(payload).ok().filter(|&len| len <= input.rest().len());
        let kind = match opcode {
            Opcode::Close | Opcode::Ping | Opcode::Pong => {
                self.count_control(now)?;
                if let Some(len) = here {
                    return Ok(Some(Found::ControlHere { opcode, len, key }));
                }
                // Collected in a buffer of its own: one from the pool may be as large as the largest message.
                let open = self.open.get_or_insert_default();
                open.frame = Some(Frame { opcode, fin, key, remaining: payload });
                return Ok(None);
            }
            Opcode::Text => Some(Kind::Text),
            Opcode::Binary => Some(Kind::Binary),
            Opcode::Continuation => None,
        };
        self.hear_message(now);
        let delivery = self.config.delivery;
        if let (Some(kind), true, false, Some(len), Delivery::Messages) = (kind, fin, compressed, here, delivery) {
            return Ok(Some(Found::WholeHere { kind, len, key }));
        }
        let open = self.open.get_or_insert_default();
        if let Some(kind) = kind {
            let body = match (delivery, kind) {
                (Delivery::Chunks, _) => Body::Passed { utf8: Utf8::START, first: true },
                (Delivery::Messages, Kind::Text) => Body::Text(Assembly::text(input.take_stale_buffer())),
                (Delivery::Messages, Kind::Binary) => Body::Binary(Assembly::binary(input.take_stale_buffer())),
            };
            open.message = Some(Message {
                kind,
                progress: Progress::default(),
                body,
                #[cfg(feature = "deflate")]
                packed: compressed.then(|| Packed::new(self.config.limits.message)),
            });
        }
        if let Some(message) = open.message.as_mut() {
            message.progress.bytes += payload;
            message.progress.fragments += 1;
        }
        open.frame = Some(Frame { opcode, fin, key, remaining: payload });
        Ok(None)
    }

    /// Acts on a whole control frame and reports it.
    fn control_frame<'i>(
        &mut self,
        opcode: Opcode,
        payload: &'i [u8],
        out: &mut Output,
        now: Instant,
    ) -> Result<Event<'i>, Error> {
        match opcode {
            Opcode::Ping => {
                if self.config.replies == Replies::Automatic {
                    // After our Close frame nothing more may be sent, and nothing is.
                    let _ = self.pong(payload, out);
                }
                Ok(Event::Ping(payload))
            }
            Opcode::Pong => {
                let round_trip = self.round_trip(payload, now);
                Ok(Event::Pong { payload, round_trip })
            }
            _ => self.close_frame(payload, out, now),
        }
    }

    /// RFC 6455 section 5.5.1: the peer's Close frame is answered with one, unless one was sent before.
    fn close_frame<'i>(&mut self, payload: &'i [u8], out: &mut Output, now: Instant) -> Result<Event<'i>, Error> {
        let parsed = close::parse(payload).map_err(|error| self.fail(error, out))?;
        let (code, reason) = parsed.map_or((NO_CODE, ""), |(code, reason)| (code.as_u16(), reason));
        let ending = match (self.state, self.config.replies) {
            (State::Closing(ending), _) => ending,
            (_, Replies::Automatic) => {
                self.echo_close(code, out);
                Ending::Peer
            }
            (_, Replies::Manual) => {
                self.await_answer(code, now);
                return Ok(Event::CloseReceived { code, reason });
            }
        };
        self.end(code, ending);
        self.state = State::Over;
        Ok(Event::Closed(Closed { code, reason, ending }))
    }

    /// Lets go of `Open` when nothing is half-received.
    fn tidy(&mut self) {
        if self.open.as_ref().is_some_and(|open| open.is_idle() && !open.compresses()) {
            self.open = None;
        }
        self.set_fast();
    }
}

impl Open {
    /// Bytes held of a message.
    pub(super) fn held(&self) -> usize {
        let Some(message) = &self.message else { return 0 };
        #[cfg(feature = "deflate")]
        let waiting = message.packed.as_ref().map_or(0, Packed::held);
        #[cfg(not(feature = "deflate"))]
        let waiting = 0;
        waiting
            + match &message.body {
                Body::Text(text) => text.len(),
                Body::Binary(bytes) => bytes.len(),
                Body::Passed { .. } => 0,
            }
    }

    /// How far the fragmented message is, if there is one.
    pub(super) fn progress(&self) -> Option<Progress> {
        self.message.as_ref().map(|message| message.progress)
    }

    /// Whether a frame's last bytes came by [`Connection::filled`], so that there is something to report without input.
    fn is_frame_complete(&self) -> bool {
        self.frame.is_some_and(|frame| frame.remaining == 0)
    }

    /// Whether the next bytes belong to a message.
    fn is_inside_data(&self) -> bool {
        self.frame.is_some_and(|frame| !frame.opcode.is_control())
    }

    /// Whether nothing is half-received.
    pub(super) fn is_idle(&self) -> bool {
        self.header_len == 0 && self.frame.is_none() && self.message.is_none()
    }

    fn compresses(&self) -> bool {
        #[cfg(feature = "deflate")]
        return self.session.is_some();
        #[cfg(not(feature = "deflate"))]
        return false;
    }

    /// Takes the next piece of the frame. `None`: nothing to report yet.
    fn go_on(&mut self, input: &mut Input<'_>) -> Result<Option<Found>, Error> {
        #[cfg(feature = "deflate")]
        if self.passes_packed() {
            return self.pass(input);
        }
        let Some(frame) = self.frame.as_mut() else { return Ok(None) };
        let len = usize::try_from(frame.remaining).unwrap_or(usize::MAX).min(input.rest().len());
        let key = frame.key;
        frame.key = key.after(len);
        frame.remaining -= len as u64;
        let Frame { opcode, fin, remaining, .. } = *frame;
        if remaining == 0 {
            self.frame = None;
        }
        let ended = fin && remaining == 0;
        match (opcode, self.message.as_mut()) {
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) | (_, None) => {
                let piece = input.take(len);
                payload::unmask_binary(piece, key);
                self.control.extend_from_slice(piece);
                Ok(ended.then(|| Found::Control { opcode, payload: core::mem::take(&mut self.control) }))
            }
            (_, Some(message)) => {
                #[cfg(feature = "deflate")]
                if let (Some(packed), Some(session)) = (&mut message.packed, &mut self.session) {
                    match &mut message.body {
                        Body::Text(text) => packed.take((len, key), ended, text, session, input)?,
                        Body::Binary(bytes) => packed.take((len, key), ended, bytes, session, input)?,
                        Body::Passed { .. } => {}
                    }
                    let body = self.message.take_if(|_| ended).map(|message| message.body);
                    return Ok(body.map(Found::Assembled));
                }
                let found = message.piece(len, key, ended, input)?;
                if ended {
                    let body = self.message.take().map(|message| message.body);
                    return Ok(found.or(body.map(Found::Assembled)));
                }
                Ok(found)
            }
        }
    }

    /// Whether the next bytes are of a compressed message that is passed on in pieces.
    #[cfg(feature = "deflate")]
    fn passes_packed(&self) -> bool {
        self.is_inside_data()
            && self
                .message
                .as_ref()
                .is_some_and(|message| message.packed.is_some() && matches!(message.body, Body::Passed { .. }))
    }

    /// As [`go_on`](Self::go_on), where [`passes_packed`](Self::passes_packed).
    #[cfg(feature = "deflate")]
    fn pass(&mut self, input: &mut Input<'_>) -> Result<Option<Found>, Error> {
        let (Some(frame), Some(message), Some(session)) = (&mut self.frame, &mut self.message, &mut self.session)
        else {
            return Ok(None);
        };
        let (Some(packed), Body::Passed { utf8, first }) = (&mut message.packed, &mut message.body) else {
            return Ok(None);
        };
        let len = usize::try_from(frame.remaining).unwrap_or(usize::MAX).min(input.rest().len());
        let Passed { data, taken, dry, error } = packed.pass((len, frame.key), session, input);
        frame.key = frame.key.after(taken);
        frame.remaining -= taken as u64;
        let frame_ended = frame.remaining == 0 && dry;
        let ended = frame_ended && frame.fin;
        let kind = message.kind;
        if kind == Kind::Text {
            utf8.push(&data).map_err(|_| Error::InvalidUtf8)?;
        }
        if let Some(error) = error {
            return Err(error);
        }
        if kind == Kind::Text && ended && !utf8.is_boundary() {
            return Err(Error::InvalidUtf8);
        }
        if ended {
            packed.finish(session, input)?;
        }
        let quiet = data.is_empty() && !ended;
        let part = Part::new(if quiet { *first } else { core::mem::replace(first, false) }, ended);
        if frame_ended {
            self.frame = None;
        }
        if ended {
            self.message = None;
        }
        if quiet {
            input.give_buffer(data);
            return Ok(None);
        }
        Ok(Some(Found::Chunk { kind, data, part }))
    }

    /// Gives the buffers back to the thread's pool.
    fn give_back(self, input: &mut Input<'_>) {
        input.give_buffer(self.control);
        let Some(message) = self.message else { return };
        #[cfg(feature = "deflate")]
        if let Some(packed) = message.packed {
            packed.give_back(input);
        }
        match message.body {
            Body::Text(text) => input.give_buffer(text.into_buffer()),
            Body::Binary(bytes) => input.give_buffer(bytes.into_buffer()),
            Body::Passed { .. } => {}
        }
    }
}

impl Message {
    /// Takes the next `len` bytes. Kept bodies report nothing here; passed ones report a chunk, which stays in the input.
    fn piece(&mut self, len: usize, key: Key, ended: bool, input: &mut Input<'_>) -> Result<Option<Found>, Error> {
        match &mut self.body {
            Body::Text(text) => {
                text.push(input.take(len), key).map_err(|_| Error::InvalidUtf8)?;
                Ok(None)
            }
            Body::Binary(bytes) => {
                bytes.push(input.take(len), key).map_err(|_| Error::InvalidUtf8)?;
                Ok(None)
            }
            Body::Passed { utf8, first } => {
                let piece = input.peek(len);
                match self.kind {
                    Kind::Text => {
                        payload::unmask_piece(piece, key, utf8).map_err(|_| Error::InvalidUtf8)?;
                        if ended && !utf8.is_boundary() {
                            return Err(Error::InvalidUtf8);
                        }
                    }
                    Kind::Binary => payload::unmask_binary(piece, key),
                }
                if len == 0 && !ended {
                    return Ok(None);
                }
                let part = Part::new(core::mem::replace(first, false), ended);
                Ok(Some(Found::ChunkHere { kind: self.kind, len, part }))
            }
        }
    }
}
