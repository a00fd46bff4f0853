//! Any order of calls leaves a right state: random programs of calls and reads, against a small model of what a connection may
//! say, write and wait for.

mod ws_wire;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;
use std::time::Duration;
use tautline::heartbeat::HeartbeatConfig;
use tautline::ws::{CloseCode, Config, Connection, Ending, Kind, Limits, Prepared, Replies, SendError, Text};
use tautline::{Input, Instant, Output};
use ws_wire::*;

#[derive(Clone, Debug)]
enum Call {
    Text(String),
    Binary(usize),
    SharedText(String),
    SharedBinary(usize),
    Prepared(usize),
    Begin(Kind, Vec<u8>),
    Append(Vec<u8>),
    Finish(Vec<u8>),
    Ping(usize),
    Pong(usize),
    Close(Option<u16>, usize),
    /// What the peer sends: whole frames, but read in pieces.
    Receive(Vec<(u8, Vec<u8>)>, Index),
    /// Bytes that are probably no frame.
    Junk(Vec<u8>),
    Wait(u64),
    /// Waits as long as the connection wants to.
    WaitUntilDue,
    Timeout,
    Eof,
    Write(usize),
    Blocked,
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-zé漢😀]{0,30}", 1 => "[a-z]{120,300}"]
}

/// Text fragments, sometimes cut inside a character or plainly wrong.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => "[a-z漢😀]{0,6}".prop_map(|text| text.into_bytes()),
        1 => Just(b"\xf0\x9f".to_vec()),
        1 => Just(b"\x98\x80".to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ]
}

fn received() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let first = prop_oneof![
        6 => prop::sample::select(vec![FIN | TEXT, FIN | BINARY, FIN | PING, FIN | PONG]),
        3 => prop::sample::select(vec![TEXT, BINARY, CONTINUATION, FIN | CONTINUATION]),
    ];
    let frame = (first, "[a-zé]{0,40}").prop_map(|(first, text)| (first, text.into_bytes()));
    let close = prop::sample::select(vec![
        vec![],
        close_payload(1000, "bye"),
        close_payload(4000, ""),
        close_payload(1005, ""),
    ]);
    prop_oneof![30 => frame, 1 => close.prop_map(|payload| (FIN | CLOSE, payload))]
}

fn call() -> impl Strategy<Value = Call> {
    let kind = prop::sample::select(vec![Kind::Text, Kind::Binary]);
    let code = prop::option::of(prop::sample::select(vec![1000u16, 1001, 1011, 4999]));
    prop_oneof![
        4 => text().prop_map(Call::Text),
        4 => (0usize..400).prop_map(Call::Binary),
        2 => text().prop_map(Call::SharedText),
        2 => (0usize..400).prop_map(Call::SharedBinary),
        2 => (0usize..400).prop_map(Call::Prepared),
        5 => (kind, fragment()).prop_map(|(kind, bytes)| Call::Begin(kind, bytes)),
        5 => fragment().prop_map(Call::Append),
        5 => fragment().prop_map(Call::Finish),
        3 => (0usize..130).prop_map(Call::Ping),
        3 => (0usize..130).prop_map(Call::Pong),
        1 => (code, 0usize..130).prop_map(|(code, reason)| Call::Close(code, reason)),
        8 => (prop::collection::vec(received(), 1..4), any::<Index>()).prop_map(|(frames, cut)| Call::Receive(frames, cut)),
        1 => prop::collection::vec(any::<u8>(), 1..4).prop_map(Call::Junk),
        4 => (0u64..8000).prop_map(Call::Wait),
        3 => Just(Call::WaitUntilDue),
        5 => Just(Call::Timeout),
        1 => Just(Call::Eof),
        5 => (0usize..600).prop_map(Call::Write),
        3 => Just(Call::Blocked),
    ]
}

/// What the model knows of the sending side.
#[derive(Clone, Debug, PartialEq)]
enum Sending {
    Message,
    Fragments(Kind, Vec<u8>),
    Nothing,
}

/// The connection, and beside it what must be true of it.
struct Run {
    role: Role,
    config: Config,
    ws: Connection,
    out: Output,
    now: Instant,
    wire: Vec<u8>,
    sending: Sending,
    seen: Vec<Seen>,
    received: Vec<u8>,
    heard: Instant,
    probed: Option<Instant>,
    close_deadline: Option<Instant>,
    message_at: Instant,
    /// Pongs that were asked for, by pings and by calls; the wire shows a part of them, in order.
    pongs: Vec<Vec<u8>>,
}

impl Run {
    fn new(role: Role, config: Config, limit: usize) -> Self {
        Self {
            role,
            config,
            ws: role.connect(config),
            out: Output::with_limit(limit),
            now: NOW,
            wire: Vec::new(),
            sending: Sending::Message,
            seen: Vec::new(),
            received: Vec::new(),
            heard: NOW,
            probed: None,
            close_deadline: None,
            message_at: NOW,
            pongs: Vec::new(),
        }
    }

    fn is_asked(&self) -> bool {
        self.config.replies == Replies::Manual
            && self.seen.iter().any(|seen| matches!(seen, Seen::CloseReceived(..)))
            && !self.ws.is_ended()
    }

    /// Holds the outcome of a send against the model: what it says, and that it wrote one frame or nothing.
    fn sent(&self, before: &[u8], outcome: Result<(), SendError>, frame: (u8, &[u8]), wrong: Option<SendError>) {
        let after = unsent(&self.out);
        let expected = match (&self.sending, frame.0 & 15, wrong) {
            // A wrong argument may be named before or after a wrong state.
            (Sending::Nothing, ..) => Err(SendError::Closed),
            (Sending::Message, CONTINUATION, _) => Err(SendError::NoMessageOpen),
            (Sending::Fragments(..), TEXT | BINARY, _) => Err(SendError::MessageOpen),
            (_, _, Some(wrong)) => Err(wrong),
            _ => Ok(()),
        };
        match (outcome, expected) {
            (Ok(()), Ok(())) => {
                assert_eq!(&after[..before.len()], before);
                let sent = &after[before.len()..];
                let from = self.role;
                // Parsed alone: a continuation's place among others is the whole wire's to judge.
                let head = self.role.peer().header(frame.0, frame.1.len() as u64).len();
                assert_eq!(sent.len(), head + frame.1.len(), "one frame");
                assert_eq!(sent[0], frame.0);
                let key: Option<[u8; 4]> =
                    (from == Role::Client).then(|| sent[head - 4..head].try_into().expect("a key"));
                assert_eq!(masked(&sent[head..], key, 0), frame.1);
            }
            (Err(SendError::Full(full)), Ok(())) => {
                assert_eq!(full.limit, self.out.limit());
                let head = self.role.peer().header(frame.0, frame.1.len() as u64).len();
                assert!(before.len() + head + frame.1.len() > full.limit, "full with room left");
                assert_eq!(after, before, "an error leaves no bytes");
            }
            (Err(got), Err(expected)) => {
                let argument = matches!(got, SendError::LongControl | SendError::CloseReason | SendError::InvalidUtf8);
                assert!(got == expected || argument && wrong == Some(got), "{got:?}, not {expected:?}");
                assert_eq!(after, before, "an error leaves no bytes");
            }
            (got, expected) => panic!("{got:?}, not {expected:?}, in {:?}", self.sending),
        }
    }

    fn fragment_fault(&self, kind: Kind, so_far: &[u8], next: &[u8], last: bool) -> Option<SendError> {
        let text = [so_far, next].concat();
        let bad = match std::str::from_utf8(&text) {
            Ok(_) => false,
            Err(e) => e.error_len().is_some() || last,
        };
        (kind == Kind::Text && bad).then_some(SendError::InvalidUtf8)
    }

    fn step(&mut self, call: Call) {
        let before = unsent(&self.out);
        let was_ended = self.ws.is_ended();
        match call {
            Call::Text(text) => {
                let outcome = self.ws.send_text(&text, &mut self.out);
                self.sent(&before, outcome, (FIN | TEXT, text.as_bytes()), None);
            }
            Call::Binary(n) => {
                let outcome = self.ws.send_binary(&vec![5; n], &mut self.out);
                self.sent(&before, outcome, (FIN | BINARY, &vec![5; n]), None);
            }
            Call::SharedText(text) => {
                let outcome = self.ws.send_shared_text(Text::from(text.clone()), &mut self.out);
                self.sent(&before, outcome.map_err(|unsent| unsent.cause), (FIN | TEXT, text.as_bytes()), None);
            }
            Call::SharedBinary(n) => {
                let outcome = self.ws.send_shared_binary(Bytes::from(vec![6; n]), &mut self.out);
                self.sent(&before, outcome.map_err(|unsent| unsent.cause), (FIN | BINARY, &vec![6; n]), None);
            }
            Call::Prepared(n) => {
                let outcome = self.ws.send_prepared(&Prepared::binary(&vec![7; n]), &mut self.out);
                self.sent(&before, outcome, (FIN | BINARY, &vec![7; n]), None);
            }
            Call::Begin(kind, bytes) => {
                let wrong = self.fragment_fault(kind, b"", &bytes, false);
                let outcome = self.ws.begin(kind, &bytes, &mut self.out);
                let opcode = if kind == Kind::Text { TEXT } else { BINARY };
                self.sent(&before, outcome, (opcode, &bytes), wrong);
                if outcome.is_ok() {
                    self.sending = Sending::Fragments(kind, bytes);
                }
            }
            Call::Append(bytes) | Call::Finish(bytes)
                if matches!(self.sending, Sending::Message | Sending::Nothing) =>
            {
                let outcome = self.ws.append(&bytes, &mut self.out);
                self.sent(&before, outcome, (CONTINUATION, &bytes), None);
                let outcome = self.ws.finish(&bytes, &mut self.out);
                self.sent(&before, outcome, (FIN | CONTINUATION, &bytes), None);
            }
            Call::Append(bytes) => {
                let Sending::Fragments(kind, mut message) = self.sending.clone() else { return };
                let wrong = self.fragment_fault(kind, &message, &bytes, false);
                let outcome = self.ws.append(&bytes, &mut self.out);
                self.sent(&before, outcome, (CONTINUATION, &bytes), wrong);
                if outcome.is_ok() {
                    message.extend(bytes);
                    self.sending = Sending::Fragments(kind, message);
                }
            }
            Call::Finish(bytes) => {
                let Sending::Fragments(kind, message) = self.sending.clone() else { return };
                let wrong = self.fragment_fault(kind, &message, &bytes, true);
                let outcome = self.ws.finish(&bytes, &mut self.out);
                self.sent(&before, outcome, (FIN | CONTINUATION, &bytes), wrong);
                if outcome.is_ok() {
                    self.sending = Sending::Message;
                }
            }
            Call::Ping(n) => {
                let outcome = self.ws.ping(&vec![b'p'; n], &mut self.out);
                let wrong = (n > 125).then_some(SendError::LongControl);
                self.sent(&before, outcome, (FIN | PING, &vec![b'p'; n]), wrong);
            }
            Call::Pong(n) => {
                let payload = vec![b'q'; n];
                let expected = match n {
                    126.. => Err(SendError::LongControl),
                    _ if self.sending == Sending::Nothing => Err(SendError::Closed),
                    _ => Ok(()),
                };
                assert_eq!(self.ws.pong(&payload, &mut self.out), expected, "a pong always fits");
                match expected {
                    Ok(()) => self.pongs.push(payload),
                    Err(_) => assert_eq!(unsent(&self.out), before),
                }
            }
            Call::Close(code, n) => {
                let reason = "r".repeat(n);
                let outcome = self.ws.close(code.and_then(CloseCode::new), &reason, self.now, &mut self.out);
                let expected = if n > 123 || code.is_none() && n > 0 {
                    Err(SendError::CloseReason)
                } else if self.sending == Sending::Nothing {
                    Err(SendError::Closed)
                } else {
                    Ok(())
                };
                assert_eq!(outcome, expected, "a Close frame always fits");
                match outcome {
                    Ok(()) => {
                        self.sending = Sending::Nothing;
                        self.close_deadline = Some(self.now + self.config.close_timeout);
                        let payload = code.map_or(vec![], |code| close_payload(code, &reason));
                        let head = self.role.peer().header(0, payload.len() as u64).len();
                        assert_eq!(self.out.len(), before.len() + head + payload.len());
                    }
                    Err(_) => assert_eq!(unsent(&self.out), before),
                }
            }
            Call::Receive(frames, cut) => {
                let bytes: Vec<u8> =
                    frames.iter().flat_map(|(first, payload)| self.role.frame(*first, payload)).collect();
                let cut = cut.index(bytes.len());
                self.read(&bytes[..cut]);
                self.read(&bytes[cut..]);
            }
            Call::Junk(bytes) => self.read(&bytes),
            Call::Wait(millis) => self.now = self.now + Duration::from_millis(millis),
            Call::WaitUntilDue => self.now = self.ws.poll_timeout().map_or(self.now, |due| due.max(self.now)),
            Call::Timeout => self.timeout(),
            Call::Eof => {
                self.ws.handle_eof(self.now);
                assert_eq!(unsent(&self.out), before);
                self.sending = Sending::Nothing;
            }
            Call::Write(n) => {
                let n = n.min(before.len());
                self.wire.extend(&before[..n]);
                self.out.advance(n);
            }
            Call::Blocked => self.out.set_blocked(),
        }
        assert!(!was_ended || self.ws.is_ended(), "an end is final");
        self.check();
    }

    fn read(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let before = self.seen.len();
        if !self.ws.is_ended() && !self.is_asked() {
            self.received.extend(bytes);
            self.heard = self.now;
        }
        let could_answer = self.sending != Sending::Nothing && self.config.replies == Replies::Automatic;
        let mut piece = bytes.to_vec();
        let mut seen = std::mem::take(&mut self.seen);
        read_all(&mut self.ws, &mut Input::new(&mut piece), &mut self.out, self.now, &mut seen);
        self.seen = seen;
        for one in &self.seen[before..] {
            match one {
                Seen::Ping(payload) if could_answer => self.pongs.push(payload.clone()),
                Seen::CloseReceived(..) => self.close_deadline = Some(self.now + self.config.close_timeout),
                _ => {}
            }
        }
        if self.ws.is_ended() {
            self.sending = Sending::Nothing;
        }
        // Whether these bytes were a message's is the receiver's to know; at the latest now.
        self.message_at = self.now;
    }

    fn timeout(&mut self) {
        let before = unsent(&self.out);
        let due = self.ws.poll_timeout();
        let was_open = self.sending != Sending::Nothing && !self.is_asked();
        self.ws.handle_timeout(self.now, &mut self.out);
        let after = unsent(&self.out);
        if due.is_none_or(|due| self.now < due) {
            assert_eq!(after, before, "called early it does nothing");
        }
        assert!(self.ws.poll_timeout().is_none_or(|due| due > self.now), "a deadline that does not move");
        let new = &after[before.len()..];
        if !new.is_empty() {
            assert!(was_open, "nothing is said while closing");
            match new[0] & 15 {
                PING => self.probed = Some(self.now),
                CLOSE => {
                    self.sending = Sending::Nothing;
                    self.close_deadline = Some(self.now + self.config.close_timeout);
                }
                other => panic!("a deadline that writes {other}"),
            }
        }
        let full = self.out.room() < self.role.peer().frame(FIN | PING, b"ping").len();
        if let (true, true, Some(heartbeat)) = (was_open && new.is_empty(), full, self.config.heartbeat) {
            // A ping that found no room counts as sent: the peer takes nothing, and its silence will tell.
            let probe_due = self.now + heartbeat.deadline;
            let idle_due = self.config.idle.map_or(probe_due, |idle| self.message_at + idle);
            // An idle deadline may come first and hide it.
            if self.ws.poll_timeout().is_some_and(|due| due == probe_due || due == idle_due) {
                self.probed = Some(self.now);
            }
        }
        if self.ws.is_ended() {
            self.sending = Sending::Nothing;
        }
        if let Some(deadline) = self.close_deadline {
            assert!(self.now < deadline || self.ws.is_ended(), "the close deadline was missed");
        }
    }

    /// What is true at any time.
    fn check(&self) {
        assert_eq!(self.ws.is_open(), self.sending != Sending::Nothing);
        let due = self.ws.poll_timeout();
        if self.ws.is_ended() {
            assert_eq!(due, None);
            return;
        }
        let due = due.unwrap_or(Instant::from_nanos(u64::MAX));
        if let Some(deadline) = self.close_deadline {
            assert_eq!(due, deadline);
            return;
        }
        // Never late: an unanswered ping's deadline, a silence's end, an idle connection's end.
        if let Some(heartbeat) = self.config.heartbeat {
            let latest = match self.probed {
                Some(probed) if self.heard < probed => probed + heartbeat.deadline,
                _ => (self.heard + heartbeat.interval).max(self.probed.unwrap_or(NOW) + heartbeat.deadline),
            };
            assert!(due <= latest, "{due:?} is later than {latest:?}");
        }
        if let Some(idle) = self.config.idle {
            assert!(due <= self.message_at + idle);
        }
    }

    /// The end, and what can only be told then.
    fn finish(mut self) {
        self.ws.handle_eof(self.now);
        let mut seen = std::mem::take(&mut self.seen);
        read_all(&mut self.ws, &mut Input::new(&mut []), &mut self.out, self.now, &mut seen);
        assert_eq!(seen.iter().filter(|seen| seen.is_closed()).count(), 1, "{seen:?}");
        assert!(seen.last().is_some_and(Seen::is_closed), "nothing behind the end");
        assert_eq!(ask_end(&mut self.ws, &mut self.out, self.now), []);
        assert_eq!(self.ws.send_text("late", &mut self.out), Err(SendError::Closed));

        self.wire.extend(unsent(&self.out));
        let (frames, whole) = parse_output(&self.wire, self.role).unwrap_or_else(|e| panic!("{e} in {:x?}", self.wire));
        assert_eq!(whole, self.wire.len(), "a cut frame");
        let mut asked = self.pongs.iter();
        for pong in frames.iter().filter(|frame| frame.opcode() == PONG) {
            assert!(asked.any(|payload| *payload == pong.payload), "a pong that nobody asked for, or out of order");
        }
        // The events are those of a naive receiver, up to where this side ended by itself.
        let told: Vec<Seen> = seen
            .iter()
            .filter(|seen| {
                let Seen::Closed { ending, .. } = seen else { return true };
                // With manual replies the peer's Close frame was told before the end is.
                let told_before = self.config.replies == Replies::Manual && *ending == Ending::Peer;
                let own = matches!(ending, Ending::Eof | Ending::CloseTimeout | Ending::PingTimeout);
                !own && !told_before
            })
            .cloned()
            .collect();
        let told = Reading::of(&told, &[]).events;
        let naive = Reading::naive(&self.received, self.role, &self.config.limits).events;
        assert_eq!(told, naive);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_program_of_calls_leaves_a_right_state(
        calls in prop::collection::vec(call(), 0..60),
        manual: bool,
        heartbeat: bool,
        idle in prop::option::of(5u64..60),
        limit in prop_oneof![Just(Output::LIMIT), 150usize..2000],
    ) {
        for role in Role::BOTH {
            let mut run = Run::new(role, config(|config| {
                config.limits = Limits { fragments: 20, control_rate: 1_000_000, control_burst: 100_000, ..Limits::DEFAULT };
                config.replies = if manual { Replies::Manual } else { Replies::Automatic };
                config.heartbeat = heartbeat.then_some(HeartbeatConfig {
                    interval: Duration::from_secs(10), deadline: Duration::from_secs(3), jitter_percent: 10,
                });
                config.idle = idle.map(Duration::from_secs);
            }), limit);
            for call in calls.clone() {
                run.step(call);
            }
            run.finish();
        }
    }
}
