//! The state of one connection, the fast way in, and its deadlines.

use super::close::{ABNORMAL, CloseCode, Closed, Ending};
use super::config::{Config, Delivery};
#[cfg(feature = "deflate")]
use super::deflate::{Deflate, Role, Session};
use super::error::Error;
use super::event::Event;
use super::header::{self, FIN, MASK, Opcode};
use super::receive::Open;
use super::send::Sending;
use crate::heartbeat::{Beat, Heartbeat};
use crate::input::Input;
use crate::output::Output;
use crate::payload::{self, Key};
use crate::time::{Instant, earlier};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::hash::Hasher;
use siphasher::sip::SipHasher13;

/// Bytes of a masking key.
const KEY: usize = 4;

// What `next_event` takes for granted where it computes the length of a header.
const _: () = assert!((MASK >> 5) as usize == KEY);

/// Sixteen bytes from a source that an attacker cannot predict: one per connection, from the system's random generator.
///
/// A client's masking keys and the jitter of heartbeats are drawn from it with SipHash, so they are as unpredictable as it is
/// (RFC 6455 section 10.3 asks that of masking keys).
pub type Seed = [u8; 16];

/// One WebSocket connection after its opening handshake.
///
/// # Contract
///
/// - [`next_event`](Self::next_event) takes bytes and reports what they mean; call it until it returns `Ok(None)` (the input is
///   used up) or an error. What it owes the peer (pongs, Close frames) is in the output when it returns, after an error too.
/// - `send_*`, [`ping`](Self::ping), [`close`](Self::close) and the like write frames, at any time; after a Close frame they write
///   nothing and say so.
/// - [`poll_timeout`](Self::poll_timeout) names the next deadline: ask again after any call that took `now`. It may be early, never late.
///   [`handle_timeout`](Self::handle_timeout) does what is due; called early it does nothing. Feed what was read first: a pong
///   among it is life.
/// - [`handle_eof`](Self::handle_eof) says that nothing more will be read.
/// - [`Event::Closed`] comes exactly once, always from `next_event`: after an error, a deadline or an end of file call that once
///   more (an empty `Input` will do).
///
/// No order of calls is wrong. A connection holds heap memory only while a frame or a message is half-received.
///
/// ```text
///              close()                     peer's Close
///   open ───────────────────▶ closing ──────────────────────┐
///    │ peer's Close                │ no answer in time, EOF  │
///    ├──────────▶ (replies manual: │                         ▼
///    │             asked, close()) ┴───────────────▶ ended ─ Closed ─▶ over
///    │ peer's Close (answered), error, EOF, no pong     ▲
///    └──────────────────────────────────────────────────┘
/// ```
pub struct Connection {
    pub(super) config: Arc<Config>,
    /// What is half-received, and what permessage-deflate needs where it is in use.
    pub(super) open: Option<Box<Open>>,
    /// When a byte last came.
    heard: Instant,
    /// When a message last came or, in state `Closing` and `Asked`, when the peer's time is up.
    mark: Instant,
    heartbeat: Option<Heartbeat>,
    /// When the control frames so far have used up their rate (generic cell rate algorithm).
    controls: Instant,
    seed: Seed,
    /// Numbers drawn from the seed so far.
    drawn: u32,
    /// The payload of the heartbeat's last ping.
    ping: u32,
    /// One more than the longest payload that the fast way takes; zero where it takes none (see `set_fast`).
    pub(super) fast: u32,
    /// The mask bit that received frames must have.
    pub(super) mask: u8,
    pub(super) sending: Sending,
    pub(super) state: State,
}

/// Where a connection is between its opening handshake and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Messages both ways.
    Open,
    /// A Close frame was sent; the ending is what to report when the peer answers it.
    Closing(Ending),
    /// The peer sent a Close frame with this code, and the application has not answered yet.
    Asked(u16),
    /// All but reported.
    Ended(u16, Ending),
    /// Reported.
    Over,
}

impl Connection {
    /// A connection in the server's role, right after the answer 101. Bytes behind the request head are simply the rest of the
    /// same [`Input`].
    pub fn server(config: Arc<Config>, seed: Seed, now: Instant) -> Self {
        Self::new(config, seed, now, MASK)
    }

    /// A connection in the client's role, right after the server's 101.
    pub fn client(config: Arc<Config>, seed: Seed, now: Instant) -> Self {
        Self::new(config, seed, now, 0)
    }

    /// This connection with permessage-deflate, as its opening handshake agreed upon it: from the next message on, either way. `None`, where
    /// nothing was agreed upon, changes nothing. The first agreement counts.
    ///
    /// From then on messages of at least [`DeflateConfig::threshold`](super::DeflateConfig::threshold) bytes are sent compressed, unless that
    /// makes them no shorter, and those that come compressed are decompressed under the limits of the others. What is sent in fragments
    /// is compressed if the first one reaches the threshold. An idle connection takes some 200 bytes more, and what [`Takeover::Kept`](super::Takeover::Kept) costs.
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn with_deflate(mut self, deflate: impl Into<Option<Deflate>>) -> Self {
        let Some(deflate) = deflate.into() else { return self };
        if self.session().is_none() && !self.is_ended() {
            let role = if self.mask == MASK { Role::Server } else { Role::Client };
            let session = Session::new(deflate, role, self.config.limits.message);
            self.open.get_or_insert_default().session = Some(Box::new(session));
            if self.sending == Sending::Message {
                self.sending = self.between_messages();
            }
        }
        self
    }

    /// What was agreed upon about compression, if anything was.
    #[cfg(feature = "deflate")]
    pub fn deflate(&self) -> Option<&Deflate> {
        self.session().map(|session| &session.deflate)
    }

    #[cfg(feature = "deflate")]
    pub(super) fn session(&self) -> Option<&Session> {
        self.open.as_ref().and_then(|open| open.session.as_deref())
    }

    #[cfg(feature = "deflate")]
    pub(super) fn session_mut(&mut self) -> Option<&mut Session> {
        self.open.as_mut().and_then(|open| open.session.as_deref_mut())
    }

    fn new(config: Arc<Config>, seed: Seed, now: Instant, mask: u8) -> Self {
        let mut connection = Self {
            config,
            open: None,
            heard: now,
            mark: now,
            heartbeat: None,
            controls: now,
            seed,
            drawn: 0,
            ping: 0,
            fast: 0,
            mask,
            sending: Sending::Message,
            state: State::Open,
        };
        let random = connection.draw() as u32;
        connection.heartbeat = connection.config.heartbeat.as_ref().map(|config| Heartbeat::new(config, now, random));
        connection.ping = connection.draw() as u32;
        connection.set_fast();
        connection
    }

    /// The next thing that the bytes in `input` mean, or `None` when they are used up.
    ///
    /// A message that lies whole in the input is unmasked where it lies and lent; one that does not is assembled. Costs O(bytes
    /// taken).
    ///
    /// # Errors
    ///
    /// What the peer did wrong. The Close frame that says so is in `out`, the rest of the input is not looked at, and the next
    /// call reports [`Event::Closed`].
    #[inline(always)]
    pub fn next_event<'i>(
        &mut self,
        input: &'i mut Input<'_>,
        out: &mut Output,
        now: Instant,
    ) -> Result<Option<Event<'i>>, Error> {
        // A whole unfragmented data frame in the input: nothing but what such a frame needs. All else, and whatever fails a
        // check here, is left to `receive`, to which this is equal in effect (tested).
        let Some(rest) = input.some_rest() else { return Ok(None) };
        let Some(head) = rest.first_chunk::<{ 2 + KEY }>() else {
            if rest.is_empty() && self.fast != 0 {
                return Ok(None);
            }
            return self.receive(input, out, now);
        };
        let masked = self.mask == MASK;
        // 0x80 or zero, so that no branch or comparison is needed: 4 or 0.
        let key_len = usize::from(self.mask >> 5);
        let (first, second) = (head[0], head[1]);
        let Some(key) = head.last_chunk() else { return self.receive(input, out, now) };
        let (mut key, mut at, mut len) = (Key::new(*key), 2 + key_len, usize::from(second ^ self.mask));
        if len > 125 {
            let Some(head) = rest.first_chunk::<{ 4 + KEY }>() else { return self.receive(input, out, now) };
            let (long, Some(behind)) = (u16::from_be_bytes([head[2], head[3]]), head.last_chunk()) else {
                return self.receive(input, out, now);
            };
            if len > 126 || long < 126 {
                return self.receive(input, out, now);
            }
            (key, at, len) = (Key::new(*behind), 4 + key_len, usize::from(long));
        }
        let opcode = first ^ FIN;
        let text = opcode == Opcode::Text as u8;
        if !(text || opcode == Opcode::Binary as u8) || len >= self.fast as usize || at + len > rest.len() {
            return self.receive(input, out, now);
        }
        self.heard = now;
        self.mark = now;
        let payload = input.take_seen(at, len);
        if text {
            return match payload::unmask_text(payload, if masked { key } else { Key::NONE }) {
                Ok(text) => Ok(Some(Event::Text(text))),
                Err(_) => Err(self.fail(Error::InvalidUtf8, out)),
            };
        }
        if masked {
            payload::unmask_binary(payload, key);
        }
        Ok(Some(Event::Binary(payload)))
    }

    /// As [`next_event`](Self::next_event), but a server's payload is moved to where the reply that is equal to it would lie behind those
    /// in the input, so that [`reply_in_place`](Self::reply_in_place) can make it one. Not all are moved: with a server, one that was lies
    /// a server's header behind [`Input::reply_address`] and no other does, and [`takes_message`](Self::takes_message) holds.
    #[cfg(feature = "net")]
    #[inline(always)]
    pub(crate) fn next_event_movable<'i>(
        &mut self,
        input: &'i mut Input<'_>,
        out: &mut Output,
        now: Instant,
    ) -> Result<Option<Event<'i>>, Error> {
        // As above, for the one role that has something to gain, and in that role's terms: masked, with a header that is shorter by the
        // key on the way back.
        let Some(rest) = input.some_rest() else { return Ok(None) };
        let Some(head) = rest.first_chunk::<{ 2 + KEY }>() else {
            if rest.is_empty() && self.fast != 0 {
                return Ok(None);
            }
            return self.next_event_unmoved(input, out, now);
        };
        let [first, second, key @ ..] = *head;
        let (mut key, mut at, mut len) = (key, 2 + KEY, usize::from(second ^ MASK));
        if len > 125 {
            let Some(&[_, _, high, low, ref behind @ ..]) = rest.first_chunk::<{ 4 + KEY }>() else {
                return self.next_event_unmoved(input, out, now);
            };
            let long = u16::from_be_bytes([high, low]);
            if len > 126 || long < 126 {
                return self.next_event_unmoved(input, out, now);
            }
            (key, at, len) = (*behind, 4 + KEY, usize::from(long));
        }
        let key = Key::new(key);
        let text = first == FIN | Opcode::Text as u8;
        if !(text || first == FIN | Opcode::Binary as u8)
            || len >= self.fast as usize
            || at + len > rest.len()
            || !self.takes_message()
        {
            return self.next_event_unmoved(input, out, now);
        }
        self.heard = now;
        self.mark = now;
        if len <= payload::WIDE && input.has_wide_room::<{ payload::WIDE }>(at, len, at - KEY) {
            let room = input.take_seen_wide::<{ payload::WIDE }>(at, len, at - KEY);
            return if text {
                match payload::unmask_wide_text(room, len, key) {
                    Ok(text) => Ok(Some(Event::Text(text))),
                    Err(_) => Err(self.fail(Error::InvalidUtf8, out)),
                }
            } else {
                Ok(Some(Event::Binary(payload::unmask_wide_binary(room, len, key))))
            };
        }
        let room = input.take_seen_behind_replies(at, len, at - KEY);
        if text {
            return match payload::unmask_text_to_front(room, len, key) {
                Ok(text) => Ok(Some(Event::Text(text))),
                Err(_) => Err(self.fail(Error::InvalidUtf8, out)),
            };
        }
        Ok(Some(Event::Binary(payload::unmask_binary_to_front(room, len, key))))
    }

    #[cfg(feature = "net")]
    #[inline(never)]
    fn next_event_unmoved<'i>(
        &mut self,
        input: &'i mut Input<'_>,
        out: &mut Output,
        now: Instant,
    ) -> Result<Option<Event<'i>>, Error> {
        if self.mask == MASK { self.receive(input, out, now) } else { self.next_event(input, out, now) }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called. May be early, never late. `None` once the connection has ended.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Open => {
                let idle = self.config.idle.map(|idle| self.mark + idle);
                earlier(self.heartbeat.as_ref().map(Heartbeat::due), idle)
            }
            State::Closing(_) | State::Asked(_) => Some(self.mark),
            State::Ended(..) | State::Over => None,
        }
    }

    /// Does what is due at `now`: pings, or gives up. Called early it does nothing. If the connection ended here,
    /// [`is_ended`](Self::is_ended) says so and `next_event` reports it.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Output) {
        match self.state {
            State::Open => {
                if self.config.idle.is_some_and(|idle| self.mark + idle <= now) {
                    self.start_closing(Ending::Idle, Some(CloseCode::GOING_AWAY), "idle", now, out);
                    return;
                }
                self.beat(now, out);
            }
            State::Closing(_) | State::Asked(_) if self.mark <= now => {
                self.end(self.code_so_far(), Ending::CloseTimeout)
            }
            _ => {}
        }
    }

    /// Says that the socket took bytes that had waited for it: a peer that drains a long backlog is alive, although its pong, which
    /// waits for a ping at the end of that backlog, may be late. Whoever never calls this relies on what is received alone.
    pub fn handle_drained(&mut self, now: Instant) {
        self.hear(now);
        // Whoever does not read from a peer with a long queue cannot hold its silence against it.
        self.hear_message(now);
    }

    /// Says that the peer's side of the transport ended: nothing more will be read.
    pub fn handle_eof(&mut self, _now: Instant) {
        if !self.is_ended() {
            self.end(self.code_so_far(), Ending::Eof);
        }
    }

    /// Whether the connection has ended, reported or not. Write what is in the output, then close the transport.
    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended(..) | State::Over)
    }

    /// Whether messages can be sent.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open | State::Asked(_))
    }

    /// Whether a whole message can be sent right now: the connection is open, and no message of the application's own fragments has
    /// begun. Whoever writes a [prepared](super::Prepared) frame to many sockets asks this instead of calling
    /// [`send_prepared`](Self::send_prepared) with an output each. Not of a client, which masks, nor where messages may be compressed: there
    /// `send_prepared` knows what to send.
    #[inline]
    pub fn takes_message(&self) -> bool {
        self.sending == Sending::Message && self.mask == MASK
    }

    #[cfg(feature = "net")]
    #[inline]
    pub(crate) fn is_server(&self) -> bool {
        self.mask == MASK
    }

    /// Bytes held of a message that is half-received.
    pub fn held(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.held())
    }

    /// The settings that this connection shares.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The code to report where no more frames come: the peer's Close frame may wait for the application's answer.
    fn code_so_far(&self) -> u16 {
        match self.state {
            State::Asked(code) => code,
            _ => ABNORMAL,
        }
    }

    fn beat(&mut self, now: Instant, out: &mut Output) {
        let (Some(config), Some(mut heartbeat)) = (self.config.heartbeat, self.heartbeat) else { return };
        if now < heartbeat.due() {
            return;
        }
        let beat = heartbeat.beat(&config, self.heard, now, self.draw() as u32);
        self.heartbeat = Some(heartbeat);
        match beat {
            Beat::Quiet => {}
            Beat::Probe => {
                self.ping = self.ping.wrapping_add(1);
                // A full output means that the peer takes nothing; its silence will tell.
                let _ = self.control(Opcode::Ping, &self.ping.to_be_bytes(), out);
            }
            Beat::Dead => {
                self.send_close(Some(CloseCode::INTERNAL), "no pong in time", out);
                self.end(ABNORMAL, Ending::PingTimeout);
            }
        }
    }

    /// The round trip of the heartbeat's ping that `payload` answers. Each is measured once.
    pub(super) fn round_trip(&mut self, payload: &[u8], now: Instant) -> Option<core::time::Duration> {
        if payload != self.ping.to_be_bytes() {
            return None;
        }
        let probed = self.heartbeat.as_mut().and_then(Heartbeat::answered)?;
        Some(now.saturating_duration_since(probed))
    }

    /// Counts one control frame of the peer's.
    pub(super) fn count_control(&mut self, now: Instant) -> Result<(), Error> {
        let limits = &self.config.limits;
        // At least a nanosecond each, or a rate beyond 10^9 would switch the burst off.
        let each = (1_000_000_000 / u64::from(limits.control_rate.max(1))).max(1);
        let used_up = self.controls.max(now) + core::time::Duration::from_nanos(each);
        let most = core::time::Duration::from_nanos(each.saturating_mul(u64::from(limits.control_burst)));
        if used_up.saturating_duration_since(now) > most {
            return Err(Error::TooManyControls);
        }
        self.controls = used_up;
        Ok(())
    }

    /// Notes that bytes came.
    pub(super) fn hear(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Notes that a message's bytes came.
    pub(super) fn hear_message(&mut self, now: Instant) {
        if self.state == State::Open {
            self.mark = now;
        }
    }

    /// Fails the connection (RFC 6455 section 7.1.7): tells the peer, unless a Close frame was sent, and ends.
    #[cold]
    pub(super) fn fail(&mut self, error: Error, out: &mut Output) -> Error {
        let code = error.close_code();
        if matches!(self.state, State::Open | State::Asked(_)) {
            self.send_close(Some(code), error.as_str(), out);
        }
        self.end(code.as_u16(), Ending::Failed(error));
        error
    }

    pub(super) fn start_closing(
        &mut self,
        ending: Ending,
        code: Option<CloseCode>,
        reason: &str,
        now: Instant,
        out: &mut Output,
    ) {
        self.send_close(code, reason, out);
        self.state = State::Closing(ending);
        self.mark = now + self.config.close_timeout;
        self.set_fast();
    }

    pub(super) fn await_answer(&mut self, code: u16, now: Instant) {
        self.state = State::Asked(code);
        self.mark = now + self.config.close_timeout;
        self.set_fast();
    }

    pub(super) fn end(&mut self, code: u16, ending: Ending) {
        self.state = State::Ended(code, ending);
        self.sending = Sending::Nothing;
        self.open = None;
        self.heartbeat = None;
        self.set_fast();
    }

    /// The last event, if it was not reported yet.
    pub(super) fn report_end(&mut self) -> Option<Closed<'static>> {
        let State::Ended(code, ending) = self.state else { return None };
        self.state = State::Over;
        Some(Closed { code, reason: "", ending })
    }

    /// Opens or shuts the fast way: it is for whole messages on an open connection with nothing half-received.
    pub(super) fn set_fast(&mut self) {
        let config = &self.config;
        let idle = self.open.as_ref().is_none_or(|open| open.is_idle());
        let fast = self.state == State::Open && idle && config.delivery == Delivery::Messages;
        let longest = config.limits.frame.min(config.limits.message).min(u64::from(u32::MAX) - 1);
        self.fast = if fast { longest as u32 + 1 } else { 0 };
    }

    /// What the rules for the next header depend on.
    pub(super) fn rules(&self) -> header::Rules<'_> {
        let open = self.open.as_ref().and_then(|open| open.progress());
        #[cfg(feature = "deflate")]
        let extension_bits = if self.session().is_some() { header::RSV1 } else { 0 };
        #[cfg(not(feature = "deflate"))]
        let extension_bits = 0;
        header::Rules { mask: self.mask, extension_bits, open, limits: &self.config.limits }
    }

    /// A number that nobody without the seed can predict.
    pub(super) fn draw(&mut self) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.seed);
        hasher.write_u32(self.drawn);
        self.drawn = self.drawn.wrapping_add(1);
        hasher.finish()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the seed: it is a secret.
        f.debug_struct("Connection")
            .field("role", &if self.mask == MASK { "server" } else { "client" })
            .field("state", &self.state)
            .field("half_received", &self.open)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(feature = "net")]
    use {super::super::event::Kind, super::super::header::Encoded, alloc::vec::Vec, proptest::prelude::*};

    #[test]
    fn an_idle_connection_takes_at_most_96_bytes() {
        assert!(size_of::<Connection>() <= 96, "{}", size_of::<Connection>());
    }

    #[cfg(feature = "deflate")]
    #[test]
    fn permessage_deflate_takes_at_most_240_bytes_more() {
        assert!(size_of::<Open>() + size_of::<Session>() <= 240, "{}", size_of::<Open>());
    }

    /// What an application does with a message.
    #[cfg(feature = "net")]
    #[derive(Clone, Copy, Debug)]
    enum Answer {
        Nothing,
        Back,
        Copy,
    }

    /// Frames of all kinds, of which some are wrong, masked.
    #[cfg(feature = "net")]
    fn frames() -> impl Strategy<Value = Vec<u8>> {
        let len = prop_oneof![4 => 0usize..40, 2 => 40usize..300, 1 => 300usize..3000];
        let first = prop_oneof![
            12 => Just(FIN | 1), 12 => Just(FIN | 2), 1 => Just(FIN | 9), 1 => Just(1), 1 => Just(FIN), 1 => any::<u8>()
        ];
        let byte = prop_oneof![30 => Just(b'a'), 1 => Just(0xc3)];
        (first, len, byte, any::<[u8; 4]>()).prop_map(|(first, len, byte, key)| {
            let mut frame = Encoded::new(first, len, Some(key)).as_slice().to_vec();
            let at = frame.len();
            frame.extend((0..len).map(|i| if i % 7 == 3 { byte } else { b'b' }));
            payload::apply(&mut frame[at..], Key::new(key));
            frame
        })
    }

    /// Feeds `wire`, cut into `pieces`, and gives the events and all that goes out. `Back` goes out in place where `in_place` says so and
    /// nothing else waits, as the loop does it.
    #[cfg(feature = "net")]
    fn run(
        wire: &[u8],
        pieces: &[usize],
        answers: &[Answer],
        in_place: bool,
    ) -> (Vec<alloc::string::String>, Vec<u8>, usize) {
        let mut ws = Connection::server(Arc::default(), [7; 16], Instant::from_nanos(1));
        let (mut events, mut sent, mut moved) = (Vec::new(), Vec::new(), 0);
        let (mut pieces, mut answers) = (pieces.iter().cycle(), answers.iter().cycle());
        let (mut at, now) = (0, Instant::from_nanos(2));
        while at < wire.len() {
            let to = wire.len().min(at + pieces.next().unwrap());
            let mut bytes = wire[at..to].to_vec();
            at = to;
            let (mut input, mut out) = (Input::new(&mut bytes), Output::new());
            loop {
                let address = input.reply_address();
                let event = if in_place {
                    ws.next_event_movable(&mut input, &mut out, now)
                } else {
                    ws.next_event(&mut input, &mut out, now)
                };
                events.push(alloc::format!("{event:?}"));
                let (kind, payload) = match event {
                    Ok(Some(Event::Text(text))) => (Kind::Text, text.as_bytes()),
                    Ok(Some(Event::Binary(bytes))) => (Kind::Binary, bytes),
                    Ok(Some(Event::Closed(_)) | None) => break,
                    _ => continue,
                };
                let len = payload.len();
                let answer = *answers.next().unwrap();
                match answer {
                    Answer::Nothing => {}
                    Answer::Back
                        if in_place
                            && out.is_empty()
                            && payload.as_ptr().addr() == address + Connection::reply_header(len) =>
                    {
                        Connection::reply_in_place(kind, len, &mut input);
                        moved += 1;
                    }
                    Answer::Back | Answer::Copy => {
                        let _ = match kind {
                            Kind::Text => ws.send_text(core::str::from_utf8(payload).unwrap(), &mut out),
                            Kind::Binary => ws.send_binary(payload, &mut out),
                        };
                    }
                }
            }
            let mut front = input.replies();
            out.write_behind(&mut front, &mut sent).unwrap();
        }
        (events, sent, moved)
    }

    #[cfg(feature = "net")]
    proptest! {
        #[test]
        fn replies_in_place_are_the_bytes_that_copies_are_with_the_same_events(
            frames in prop::collection::vec(frames(), 1..40),
            pieces in prop::collection::vec(prop_oneof![1 => 1usize..60, 2 => 60usize..9000], 1..5),
            answers in prop::collection::vec(
                prop_oneof![1 => Just(Answer::Nothing), 6 => Just(Answer::Back), 1 => Just(Answer::Copy)], 1..12),
        ) {
            let wire = frames.concat();
            let (events, sent, _) = run(&wire, &pieces, &answers, true);
            let (expected, copied, none) = run(&wire, &pieces, &answers, false);
            prop_assert_eq!(none, 0);
            prop_assert_eq!(events, expected);
            prop_assert_eq!(sent, copied);
        }
    }

    #[cfg(feature = "net")]
    #[test]
    fn whole_frames_that_go_back_are_all_moved() {
        for len in [0, 1, 3, 4, 12, 20, 31, 32, 33, 100, 125, 126, 300, 4000] {
            let mut frame = Encoded::new(FIN | 1, len, Some([1, 2, 3, 4])).as_slice().to_vec();
            let at = frame.len();
            frame.resize(at + len, b'x');
            payload::apply(&mut frame[at..], Key::new([1, 2, 3, 4]));
            let mut reply = Encoded::new(FIN | 1, len, None).as_slice().to_vec();
            reply.resize(reply.len() + len, b'x');
            let wire = frame.repeat(9);
            let (_, sent, moved) = run(&wire, &[wire.len()], &[Answer::Back], true);
            assert_eq!((moved, sent), (9, reply.repeat(9)), "{len}");
        }
    }
}
