//! Every way out: messages, fragments, control frames.

use super::close::{CloseCode, Ending, NO_CODE};
use super::connection::{Connection, State};
use super::error::{SendError, Unsent};
use super::event::Kind;
use super::header::{Encoded, FIN, MAX, Opcode};
use super::prepared::{Prepared, Text};
#[cfg(feature = "net")]
use crate::input::Input;
use crate::output::Output;
use crate::payload::{self, Key, Utf8};
use crate::time::Instant;
use bytes::Bytes;

/// The longest payload of a control frame (RFC 6455 section 5.5).
const CONTROL: usize = 125;

/// Up to this length a payload is copied inline, by two overlapping words.
const INLINE: usize = 32;

/// What may be sent next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sending {
    /// A whole message.
    Message,
    /// A whole message, compressed where it is long enough.
    #[cfg(feature = "deflate")]
    Deflated,
    /// The next fragment of a begun message.
    Fragment(Fragments),
    /// Nothing: a Close frame was sent, or the connection has ended.
    Nothing,
}

/// A message that goes out in the application's own fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fragments {
    Text(Utf8),
    Binary,
}

/// Whether a fragment is the message's last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    No,
    Yes,
}

impl Connection {
    /// Sends a text message. Costs one copy.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`], [`SendError::MessageOpen`], [`SendError::Full`]; nothing is written then.
    #[inline]
    pub fn send_text(&mut self, text: &str, out: &mut Output) -> Result<(), SendError> {
        self.send(Opcode::Text, text.as_bytes(), out)
    }

    /// Sends a binary message. Costs one copy.
    ///
    /// # Errors
    ///
    /// As [`send_text`](Self::send_text).
    #[inline]
    pub fn send_binary(&mut self, payload: &[u8], out: &mut Output) -> Result<(), SendError> {
        self.send(Opcode::Binary, payload, out)
    }

    /// Sends a text message that is shared: a server queues it by reference from 16 KiB on; a client must mask a copy.
    ///
    /// # Errors
    ///
    /// As [`send_text`](Self::send_text), with the payload.
    pub fn send_shared_text(&mut self, text: Text, out: &mut Output) -> Result<(), Unsent<Text>> {
        match self.send_shared(Opcode::Text, text.as_shared(), out) {
            Ok(()) => Ok(()),
            Err(cause) => Err(Unsent { cause, payload: text }),
        }
    }

    /// Sends a binary message that is shared: a server queues it by reference from 16 KiB on; a client must mask a copy.
    ///
    /// # Errors
    ///
    /// As [`send_text`](Self::send_text), with the payload.
    pub fn send_shared_binary(&mut self, payload: Bytes, out: &mut Output) -> Result<(), Unsent<Bytes>> {
        match self.send_shared(Opcode::Binary, &payload, out) {
            Ok(()) => Ok(()),
            Err(cause) => Err(Unsent { cause, payload }),
        }
    }

    /// Sends a message that was encoded once for many peers. A server copies a short one into the output and queues one of 16 KiB
    /// or more by reference (nearly any, while the socket blocks); a client must mask a copy.
    ///
    /// # Errors
    ///
    /// As [`send_text`](Self::send_text).
    pub fn send_prepared(&mut self, message: &Prepared, out: &mut Output) -> Result<(), SendError> {
        if self.takes_message() {
            return Ok(out.push_shared(&[], message.frame())?);
        }
        self.send_prepared_otherwise(message, out)
    }

    /// As [`send_prepared`](Self::send_prepared), where the frame cannot go out as it is.
    #[inline(never)]
    fn send_prepared_otherwise(&mut self, message: &Prepared, out: &mut Output) -> Result<(), SendError> {
        #[cfg(feature = "deflate")]
        if self.sending == Sending::Deflated {
            return self.send_prepared_deflated(message, out);
        }
        self.send_whole(message.opcode(), message.payload(), out)
    }

    /// Begins a message that goes out in the caller's own fragments, with its first one. Control frames may be sent between the
    /// fragments, other messages not. With permessage-deflate the first fragment's length decides whether the message is compressed; each
    /// fragment can then be decompressed when it comes, and a compressor (some hundred KiB) is held until [`finish`](Self::finish).
    ///
    /// # Errors
    ///
    /// As [`send_text`](Self::send_text), and [`SendError::InvalidUtf8`] where a text's fragment holds what cannot be UTF-8. A
    /// fragment may end inside a character.
    pub fn begin(&mut self, kind: Kind, first: &[u8], out: &mut Output) -> Result<(), SendError> {
        self.may_send_message()?;
        #[cfg(feature = "deflate")]
        self.begin_deflated(first.len());
        let outcome = self.begin_as_it_is(kind, first, out);
        #[cfg(feature = "deflate")]
        if outcome.is_err() {
            self.begin_nothing();
        }
        outcome
    }

    fn begin_as_it_is(&mut self, kind: Kind, first: &[u8], out: &mut Output) -> Result<(), SendError> {
        self.may_send_message()?;
        let (opcode, message) = match kind {
            Kind::Text => (Opcode::Text, Fragments::Text(Utf8::START)),
            Kind::Binary => (Opcode::Binary, Fragments::Binary),
        };
        self.fragment(opcode, message, first, Last::No, out)
    }

    /// Goes on with the begun message.
    ///
    /// # Errors
    ///
    /// [`SendError::NoMessageOpen`], [`SendError::InvalidUtf8`], [`SendError::Closed`], [`SendError::Full`]; nothing is written then.
    pub fn append(&mut self, next: &[u8], out: &mut Output) -> Result<(), SendError> {
        let message = self.begun_message()?;
        self.fragment(Opcode::Continuation, message, next, Last::No, out)
    }

    /// Ends the begun message with its last fragment, which may be empty.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append); a text must end with a whole character.
    pub fn finish(&mut self, last: &[u8], out: &mut Output) -> Result<(), SendError> {
        let message = self.begun_message()?;
        self.fragment(Opcode::Continuation, message, last, Last::Yes, out)
    }

    /// Sends a ping of the application's own. Heartbeats need none: the connection sends those.
    ///
    /// # Errors
    ///
    /// [`SendError::LongControl`] over 125 bytes, [`SendError::Closed`], [`SendError::Full`].
    pub fn ping(&mut self, payload: &[u8], out: &mut Output) -> Result<(), SendError> {
        self.control(Opcode::Ping, payload, out)
    }

    /// Sends a pong: the answer to a ping with [`Replies::Manual`](super::Replies::Manual), or an unsolicited one. It always fits; while
    /// the socket blocks it replaces an unsent one (RFC 6455 section 5.5.3).
    ///
    /// # Errors
    ///
    /// [`SendError::LongControl`] over 125 bytes, [`SendError::Closed`].
    pub fn pong(&mut self, payload: &[u8], out: &mut Output) -> Result<(), SendError> {
        self.control(Opcode::Pong, payload, out)
    }

    /// Starts the close handshake, or answers the peer's Close frame with [`Replies::Manual`](super::Replies::Manual). Nothing can be sent
    /// afterwards; messages of the peer's still come until it answers, for [`Config::close_timeout`](super::Config::close_timeout) at most.
    /// The Close frame always fits.
    ///
    /// # Errors
    ///
    /// [`SendError::CloseReason`] where the reason is longer than 123 bytes or stands without a code; [`SendError::Closed`] where a Close
    /// frame was sent already.
    pub fn close(
        &mut self,
        code: Option<CloseCode>,
        reason: &str,
        now: Instant,
        out: &mut Output,
    ) -> Result<(), SendError> {
        if reason.len() > CONTROL - 2 || (code.is_none() && !reason.is_empty()) {
            return Err(SendError::CloseReason);
        }
        match self.state {
            State::Open => self.start_closing(Ending::Local, code, reason, now, out),
            State::Asked(peers) => {
                self.send_close(code, reason, out);
                self.end(peers, Ending::Peer);
            }
            _ => return Err(SendError::Closed),
        }
        Ok(())
    }

    /// Makes the message that [`next_event_movable`](Self::next_event_movable) just moved to behind the input's replies one of them, or its
    /// first `len` bytes where the form of the header stays the same.
    #[inline(always)]
    #[cfg(feature = "net")]
    pub(crate) fn reply_in_place(kind: Kind, len: usize, input: &mut Input<'_>) {
        let first = FIN
            | match kind {
                Kind::Text => Opcode::Text as u8,
                Kind::Binary => Opcode::Binary as u8,
            };
        if len <= 125 {
            input.put_reply([first, len as u8], len);
        } else {
            let [high, low] = (len as u16).to_be_bytes();
            input.put_reply([first, 126, high, low], len);
        }
    }

    /// How many bytes stand before the payload of a reply in place.
    #[inline(always)]
    #[cfg(feature = "net")]
    pub(crate) const fn reply_header(len: usize) -> usize {
        if len <= 125 { 2 } else { 4 }
    }

    #[inline(always)]
    fn send(&mut self, opcode: Opcode, payload: &[u8], out: &mut Output) -> Result<(), SendError> {
        if payload.len() > INLINE {
            return self.send_whole(opcode, payload, out);
        }
        if self.sending == Sending::Message
            && !self.masks()
            && let Some(frame) = out.window::<{ 2 + INLINE }>()
        {
            let (head, room) = frame.split_at_mut(2);
            head.copy_from_slice(&[FIN | opcode as u8, payload.len() as u8]);
            if let Some(room) = room.first_chunk_mut() {
                copy_inline(payload, room);
            }
            out.commit(2 + payload.len());
            return Ok(());
        }
        self.send_whole(opcode, payload, out)
    }

    #[inline(never)]
    fn send_whole(&mut self, opcode: Opcode, payload: &[u8], out: &mut Output) -> Result<(), SendError> {
        #[cfg(feature = "deflate")]
        if self.sending == Sending::Deflated {
            return self.send_deflated(opcode, payload, out);
        }
        self.send_as_it_is(opcode, payload, out)
    }

    #[inline(always)]
    pub(super) fn send_as_it_is(&mut self, opcode: Opcode, payload: &[u8], out: &mut Output) -> Result<(), SendError> {
        self.may_send_message()?;
        let first = FIN | opcode as u8;
        if self.masks() {
            return self.frame(first, payload, out);
        }
        // The two forms of nearly every message, without the detour over an encoded header.
        match payload.len() {
            0..=125 => {
                let space = out.space(2 + payload.len())?;
                space[0] = first;
                space[1] = payload.len() as u8;
                space[2..].copy_from_slice(payload);
                Ok(())
            }
            126..=0xffff => {
                let [high, low] = (payload.len() as u16).to_be_bytes();
                let space = out.space(4 + payload.len())?;
                space[..4].copy_from_slice(&[first, 126, high, low]);
                space[4..].copy_from_slice(payload);
                Ok(())
            }
            _ => self.frame(first, payload, out),
        }
    }

    fn send_shared(&mut self, opcode: Opcode, payload: &Bytes, out: &mut Output) -> Result<(), SendError> {
        #[cfg(feature = "deflate")]
        if self.compresses(payload.len()) {
            return self.send_deflated(opcode, payload, out);
        }
        self.send_shared_as_it_is(opcode, payload, out)
    }

    fn send_shared_as_it_is(&mut self, opcode: Opcode, payload: &Bytes, out: &mut Output) -> Result<(), SendError> {
        if !self.masks() {
            self.may_send_message()?;
            let header = Encoded::new(FIN | opcode as u8, payload.len(), None);
            return Ok(out.push_shared(header.as_slice(), payload)?);
        }
        self.send_as_it_is(opcode, payload, out)
    }

    pub(super) fn may_send_message(&self) -> Result<(), SendError> {
        match self.sending {
            Sending::Message => Ok(()),
            #[cfg(feature = "deflate")]
            Sending::Deflated => Ok(()),
            Sending::Fragment(_) => Err(SendError::MessageOpen),
            Sending::Nothing => Err(SendError::Closed),
        }
    }

    /// What may be sent when no message is begun.
    pub(super) fn between_messages(&self) -> Sending {
        #[cfg(feature = "deflate")]
        if self.session().is_some_and(|session| session.setting().is_some()) {
            return Sending::Deflated;
        }
        Sending::Message
    }

    fn begun_message(&self) -> Result<Fragments, SendError> {
        match self.sending {
            Sending::Fragment(message) => Ok(message),
            Sending::Message => Err(SendError::NoMessageOpen),
            #[cfg(feature = "deflate")]
            Sending::Deflated => Err(SendError::NoMessageOpen),
            Sending::Nothing => Err(SendError::Closed),
        }
    }

    fn fragment(
        &mut self,
        opcode: Opcode,
        mut message: Fragments,
        payload: &[u8],
        last: Last,
        out: &mut Output,
    ) -> Result<(), SendError> {
        if let Fragments::Text(state) = &mut message {
            state.push(payload).map_err(|_| SendError::InvalidUtf8)?;
            if last == Last::Yes && !state.is_boundary() {
                return Err(SendError::InvalidUtf8);
            }
        }
        let first = if last == Last::Yes { FIN } else { 0 } | opcode as u8;
        #[cfg(feature = "deflate")]
        if self.session().is_some_and(|session| session.begun) {
            self.fragment_deflated(first, payload, out)?;
        } else {
            self.frame(first, payload, out)?;
        }
        #[cfg(not(feature = "deflate"))]
        self.frame(first, payload, out)?;
        self.sending = match last {
            Last::No => Sending::Fragment(message),
            Last::Yes => self.between_messages(),
        };
        Ok(())
    }

    pub(super) fn control(&mut self, opcode: Opcode, payload: &[u8], out: &mut Output) -> Result<(), SendError> {
        if payload.len() > CONTROL {
            return Err(SendError::LongControl);
        }
        if self.sending == Sending::Nothing {
            return Err(SendError::Closed);
        }
        if opcode == Opcode::Pong {
            self.with_control_frame(opcode, payload, |frame| out.push_pong(frame));
            return Ok(());
        }
        self.frame(FIN | opcode as u8, payload, out)
    }

    /// Writes a Close frame, with as much of the reason as fits. The caller sees to it that there is only one.
    pub(super) fn send_close(&mut self, code: Option<CloseCode>, reason: &str, out: &mut Output) {
        let mut payload = [0; CONTROL];
        let mut len = 0;
        if let Some(code) = code {
            let reason = &reason.as_bytes()[..reason.len().min(CONTROL - 2)];
            len = 2 + reason.len();
            payload[..2].copy_from_slice(&code.as_u16().to_be_bytes());
            payload[2..len].copy_from_slice(reason);
        }
        self.with_control_frame(Opcode::Close, &payload[..len], |frame| {
            // A control frame is far shorter than what `push_last` always has room for.
            let _ = out.push_last(frame);
        });
        self.sending = Sending::Nothing;
    }

    /// Answers the peer's Close frame with its own code (RFC 6455 section 5.5.1).
    pub(super) fn echo_close(&mut self, code: u16, out: &mut Output) {
        debug_assert!(code == NO_CODE || CloseCode::new(code).is_some());
        self.send_close(CloseCode::new(code), "", out);
    }

    fn with_control_frame(&mut self, opcode: Opcode, payload: &[u8], push: impl FnOnce(&[u8])) {
        let key = self.next_key();
        let header = Encoded::new(FIN | opcode as u8, payload.len(), key);
        let (at, end) = (header.as_slice().len(), header.as_slice().len() + payload.len());
        let mut frame = [0; MAX + CONTROL];
        frame[..at].copy_from_slice(header.as_slice());
        frame[at..end].copy_from_slice(payload);
        if let Some(key) = key {
            payload::apply(&mut frame[at..end], Key::new(key));
        }
        push(&frame[..end]);
    }

    /// Writes one frame, by copy.
    pub(super) fn frame(&mut self, first: u8, payload: &[u8], out: &mut Output) -> Result<(), SendError> {
        let key = self.next_key();
        let header = Encoded::new(first, payload.len(), key);
        let head = header.as_slice();
        let space = out.space(head.len() + payload.len())?;
        let (to_head, to_payload) = space.split_at_mut(head.len());
        to_head.copy_from_slice(head);
        to_payload.copy_from_slice(payload);
        if let Some(key) = key {
            payload::unmask_binary(to_payload, Key::new(key));
        }
        Ok(())
    }

    #[inline(always)]
    pub(super) fn masks(&self) -> bool {
        self.mask == 0
    }

    fn next_key(&mut self) -> Option<[u8; 4]> {
        self.masks().then(|| (self.draw() as u32).to_ne_bytes())
    }
}

/// Copies a short payload by two words that overlap in the middle; a `memcpy` call costs more than that.
#[inline(always)]
fn copy_inline(from: &[u8], to: &mut [u8; INLINE]) {
    /// Copies `$size` bytes from the front and from the end.
    macro_rules! ends {
        ($size:literal) => {
            if let (Some(front), Some(back)) = (from.first_chunk::<$size>(), from.last_chunk::<$size>()) {
                let at = from.len() - $size;
                to[..$size].copy_from_slice(front);
                to[at..at + $size].copy_from_slice(back);
            }
        };
    }
    match from.len() {
        16..=INLINE => ends!(16),
        8..16 => ends!(8),
        4..8 => ends!(4),
        _ => to.iter_mut().zip(from).for_each(|(to, from)| *to = *from),
    }
}

/// What [`Connection::uncompressed`] gives: the ways to send messages, but as they are.
#[cfg(feature = "deflate")]
#[derive(Debug)]
pub struct Uncompressed<'c>(&'c mut Connection);

#[cfg(feature = "deflate")]
impl Connection {
    /// This connection for messages that must not be compressed, whatever was agreed upon: those in which a secret stands beside text that
    /// an attacker may choose, as the length of what is compressed tells of both (RFC 7692 section 8; the attacks CRIME and BREACH).
    pub fn uncompressed(&mut self) -> Uncompressed<'_> {
        Uncompressed(self)
    }
}

#[cfg(feature = "deflate")]
impl Uncompressed<'_> {
    /// As [`Connection::send_text`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn send_text(self, text: &str, out: &mut Output) -> Result<(), SendError> {
        self.0.send_as_it_is(Opcode::Text, text.as_bytes(), out)
    }

    /// As [`Connection::send_binary`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn send_binary(self, payload: &[u8], out: &mut Output) -> Result<(), SendError> {
        self.0.send_as_it_is(Opcode::Binary, payload, out)
    }

    /// As [`Connection::send_shared_text`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn send_shared_text(self, text: Text, out: &mut Output) -> Result<(), Unsent<Text>> {
        let outcome = self.0.send_shared_as_it_is(Opcode::Text, text.as_shared(), out);
        outcome.map_err(|cause| Unsent { cause, payload: text })
    }

    /// As [`Connection::send_shared_binary`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn send_shared_binary(self, payload: Bytes, out: &mut Output) -> Result<(), Unsent<Bytes>> {
        let outcome = self.0.send_shared_as_it_is(Opcode::Binary, &payload, out);
        outcome.map_err(|cause| Unsent { cause, payload })
    }

    /// As [`Connection::begin`]; the rest of the message is not compressed either.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn begin(self, kind: Kind, first: &[u8], out: &mut Output) -> Result<(), SendError> {
        if self.0.sending == Sending::Deflated {
            self.0.begin_nothing();
        }
        self.0.begin_as_it_is(kind, first, out)
    }
}
