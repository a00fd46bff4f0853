//! Two connections joined by a link, with every public method called at any time: reads cut anywhere that stop after any event, sends of
//! all kinds, closes, deadlines, ends of file, outputs that are full, blocked, written in part or taken over, and a link that tampers.
//!
//! - Never a panic. The end is told once, and nothing behind it, whatever is called then.
//! - All that a side writes is a right sequence of frames by a naive reader, up to its Close frame: the messages that it accepted for
//!   sending, in order.
//! - What a side is told is what the other one wrote, in order, where nobody tampered.
//! - No deadline comes later than what is done about it, and none stays where it is.
//! - What is held stays within the limits, in the output too.
#![no_main]

mod naive;
#[path = "../../tests/ws_wire/mod.rs"]
mod wire;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use naive::{RSV1, Reader, Steps, Told, accepted};
use std::time::Duration;
use tautline::heartbeat::HeartbeatConfig;
use tautline::ws::{
    CloseCode, Config, Connection, Deflate, Delivery, Ending, Error, Event, Kind, Limits, Prepared, Replies, SendError,
    Text,
};
use tautline::{Buffers, Input, Instant, Output};
use wire::{Role, Seen, join_chunks};

/// The longest control frame (RFC 6455 section 5.5). Beyond its limit an output holds one that was written in part, a pong, and a Close.
const CONTROL_FRAME: usize = 131;

fuzz_target!(|data: &[u8]| connection(data));

fn connection(data: &[u8]) {
    let mut steps = Steps::new(data, 40_000);
    let mode = steps.byte();
    let deflate = (mode & 1 != 0).then(|| {
        let (server, client) = (steps.deflate(), steps.deflate());
        accepted(&server, &client.offer()).expect("a good offer")
    });
    let mut world = World {
        now: Instant::from_millis(1000),
        buffers: Buffers::keeping([0, 3000, Buffers::KEEP][usize::from(mode >> 1) % 3]),
        sides: Role::BOTH.map(|role| Side::new(role, deflate, &mut steps)),
    };
    while let Some(step) = steps.next() {
        world.step(step, &mut steps);
        world.sides.iter().for_each(Side::check);
    }
    world.end();
}

struct World {
    now: Instant,
    buffers: Buffers,
    sides: [Side; 2],
}

struct Side {
    role: Role,
    config: Config,
    ws: Connection,
    out: Output,
    /// What was written and the other side has not read.
    link: Vec<u8>,
    /// Somebody changed what was written.
    tampered: bool,
    /// What was read and not taken.
    rest: Vec<u8>,
    /// What was written, naively read.
    reader: Reader,
    /// The messages that were accepted for sending.
    sent: Vec<Told>,
    /// The message that was begun and not finished.
    begun: Option<(Kind, Vec<u8>)>,
    seen: Vec<Seen>,
}

impl Side {
    fn new(role: Role, deflate: Option<Deflate>, steps: &mut Steps<'_>) -> Self {
        let (a, b) = (steps.byte(), steps.byte());
        let message = [100, 3000, 30_000, 1 << 20][usize::from(a & 3)];
        let (control_rate, control_burst) = if a & 4 == 0 { (1_000_000, 1_000_000) } else { (10, 4) };
        let config = Config {
            limits: Limits {
                message,
                frame: if a & 8 == 0 { message } else { message / 2 },
                fragments: if a & 16 == 0 { 1024 } else { 3 },
                control_rate,
                control_burst,
            },
            delivery: if a & 32 == 0 { Delivery::Messages } else { Delivery::Chunks },
            replies: if a & 64 == 0 { Replies::Automatic } else { Replies::Manual },
            heartbeat: (a & 128 != 0).then_some(HeartbeatConfig {
                interval: Duration::from_secs(5),
                deadline: Duration::from_secs(2),
                jitter_percent: b & 31,
            }),
            idle: (b & 32 != 0).then_some(Duration::from_secs(20)),
            ..Config::DEFAULT
        };
        let limit = [Output::LIMIT, 0, 200, 4000][usize::from(b >> 6)];
        let mut ws = role.connect_at(config, Instant::from_millis(1000));
        if let Some(deflate) = deflate {
            ws = ws.with_deflate(deflate);
        }
        Self {
            role,
            config,
            ws,
            out: Output::with_limit(limit),
            link: Vec::new(),
            tampered: false,
            rest: Vec::new(),
            reader: Reader::new(role, deflate.as_ref()),
            sent: Vec::new(),
            begun: None,
            seen: Vec::new(),
        }
    }

    /// What is true at any time.
    fn check(&self) {
        let Self { ws, out, config, .. } = self;
        assert!(ws.held() as u64 <= config.limits.message, "{} held", ws.held());
        assert!(out.len() <= out.limit() + 3 * CONTROL_FRAME, "{} of {} waiting", out.len(), out.limit());
        assert!(!ws.is_ended() || ws.poll_timeout().is_none(), "a deadline of what has ended");
        assert!(!(ws.is_ended() && ws.is_open()));
        assert!(!self.is_over() || ws.is_ended());
        let waits = config.heartbeat.is_some() || config.idle.is_some() || !ws.is_open();
        assert!(ws.is_ended() || ws.poll_timeout().is_some() || !waits, "no deadline");
    }

    fn is_over(&self) -> bool {
        self.seen.last().is_some_and(Seen::is_closed)
    }

    /// Moves the first `n` unsent bytes to the link.
    fn write(&mut self, n: usize) {
        let bytes = self.out.chunks().collect::<Vec<_>>().concat();
        assert_eq!(bytes.len(), self.out.len());
        let bytes = &bytes[..n.min(bytes.len())];
        self.out.advance(bytes.len());
        self.reader.take(bytes);
        self.link.extend_from_slice(bytes);
    }

    /// Reads `bytes` behind what was left last time, and asks for `most` events.
    fn read(&mut self, bytes: &[u8], most: usize, flags: u8, now: Instant, buffers: &mut Buffers) {
        let mut bytes = bytes;
        if flags & 1 != 0
            && self.rest.is_empty()
            && let Some(room) = self.ws.spare()
        {
            let n = bytes.len().min(room.len());
            room[..n].copy_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            if let Err(error) = self.ws.filled(n, &mut self.out, now) {
                self.see(Seen::Error(error));
            }
        }
        let mut piece = std::mem::take(&mut self.rest);
        piece.extend_from_slice(bytes);
        let mut input = if flags & 2 == 0 { Input::with_buffers(&mut piece, buffers) } else { Input::new(&mut piece) };
        for _ in 0..most {
            let (one, echo) = match self.ws.next_event(&mut input, &mut self.out, now) {
                Ok(None) => {
                    assert!(input.is_empty(), "nothing to tell, with bytes left");
                    break;
                }
                Ok(Some(event)) => {
                    // As an application does it: with the event in its hand.
                    let echo = match event {
                        Event::Text(text) if flags & 4 != 0 => Some(self.ws.send_text(text, &mut self.out)),
                        Event::Binary(bytes) if flags & 4 != 0 => Some(self.ws.send_binary(bytes, &mut self.out)),
                        _ => None,
                    };
                    (Seen::from(event), echo)
                }
                Err(error) => (Seen::Error(error), None),
            };
            if let Some(Ok(())) = echo {
                self.sent.push(told_of(&one).expect("a message"));
            }
            self.see(one);
        }
        self.rest = input.rest().to_vec();
    }

    fn see(&mut self, one: Seen) {
        assert!(!self.is_over(), "{one:?} behind the end");
        self.seen.push(one);
    }

    /// Notes what came of a call that sends.
    fn sends(&mut self, before: usize, outcome: Result<(), SendError>) -> bool {
        match outcome {
            Ok(()) => return true,
            Err(cause) => {
                assert_eq!(self.out.len(), before, "{cause:?} leaves bytes");
                assert!(cause != SendError::Closed || !self.ws.is_open());
                assert!(cause != SendError::MessageOpen || self.begun.is_some());
                assert!(cause != SendError::NoMessageOpen || self.begun.is_none());
            }
        }
        false
    }

    fn sends_message(&mut self, before: usize, told: Told, outcome: Result<(), SendError>) {
        if self.sends(before, outcome) {
            assert!(self.begun.is_none(), "a message inside a message");
            self.sent.push(told);
        }
    }

    fn timeout(&mut self, now: Instant) {
        let state = |side: &Self| (side.out.len(), side.ws.is_open(), side.ws.is_ended());
        let (before, due) = (state(self), self.ws.poll_timeout());
        self.ws.handle_timeout(now, &mut self.out);
        if due.is_none_or(|due| due > now) {
            assert_eq!((state(self), self.ws.poll_timeout()), (before, due), "called early it does nothing");
        }
        assert!(self.ws.poll_timeout().is_none_or(|due| due > now), "a deadline that does not move");
    }
}

impl World {
    fn step(&mut self, step: u8, steps: &mut Steps<'_>) {
        let at = usize::from(step >> 7);
        let flags = step >> 5 & 3;
        let now = self.now;
        let [first, second] = &mut self.sides;
        let (side, peer) = if at == 0 { (first, second) } else { (second, first) };
        let Side { ws, out, .. } = side;
        let before = out.len();
        match step & 31 {
            0 => side.write(usize::from(steps.pair())),
            1 => side.write(usize::MAX),
            2 => out.set_blocked(),
            3 => *out = out.take_unsent(),
            4 => {
                let mut other = Output::with_limit(out.limit());
                out.hand_compressors(&mut other);
                other.hand_compressors(out);
            }
            5..=7 => {
                let n = if step & 1 == 0 { usize::from(steps.byte()) } else { usize::from(steps.pair()) };
                let bytes: Vec<u8> = peer.link.drain(..n.min(peer.link.len())).collect();
                let most = if step & 2 == 0 { usize::from(steps.byte() & 3) } else { usize::MAX };
                side.read(&bytes, most, flags | (step & 4), now, &mut self.buffers);
            }
            8 => {
                let text = steps.text();
                let outcome = ws.send_text(&text, out);
                side.sends_message(before, Told::Text(text), outcome);
            }
            9 => {
                let bytes = steps.content();
                let outcome = ws.send_binary(&bytes, out);
                side.sends_message(before, Told::Binary(bytes), outcome);
            }
            10 => {
                let text = steps.text();
                let shared = Text::from(text.clone());
                let outcome = match flags & 1 {
                    0 => ws.send_shared_text(shared, out),
                    _ => ws.uncompressed().send_shared_text(shared, out),
                };
                side.sends_message(before, Told::Text(text), outcome.map_err(|unsent| unsent.cause));
            }
            11 => {
                let bytes = steps.content();
                let shared = Bytes::from(bytes.clone());
                let outcome = match flags & 1 {
                    0 => ws.send_shared_binary(shared, out),
                    _ => ws.uncompressed().send_shared_binary(shared, out),
                };
                side.sends_message(before, Told::Binary(bytes), outcome.map_err(|unsent| unsent.cause));
            }
            12 => {
                let text = steps.text();
                let message = Prepared::text(&text);
                let message = if flags & 1 == 0 { message } else { message.uncompressed() };
                let outcome = ws.send_prepared(&message, out);
                side.sends_message(before, Told::Text(text), outcome);
            }
            13 => {
                let bytes = steps.content();
                let outcome = ws.uncompressed().send_binary(&bytes, out);
                side.sends_message(before, Told::Binary(bytes), outcome);
            }
            14 => {
                let (kind, bytes) = (steps.kind(), steps.content());
                let outcome = match flags & 1 {
                    0 => ws.begin(kind, &bytes, out),
                    _ => ws.uncompressed().begin(kind, &bytes, out),
                };
                if side.sends(before, outcome) {
                    assert!(side.begun.replace((kind, bytes)).is_none(), "begun in a begun message");
                }
            }
            15 => {
                let bytes = steps.content();
                let outcome = ws.append(&bytes, out);
                if side.sends(before, outcome) {
                    side.begun.as_mut().expect("a begun message").1.extend(bytes);
                }
            }
            16 => {
                let bytes = steps.content();
                let outcome = ws.finish(&bytes, out);
                if side.sends(before, outcome) {
                    let (kind, mut message) = side.begun.take().expect("a begun message");
                    message.extend(bytes);
                    side.sent.push(Told::message(kind, message));
                }
            }
            17 => {
                let outcome = ws.ping(&vec![b'p'; usize::from(steps.byte())], out);
                side.sends(before, outcome);
            }
            18 => {
                let n = usize::from(steps.byte());
                let open = ws.is_open();
                let outcome = ws.pong(&vec![b'q'; n], out);
                assert_eq!(outcome.is_ok(), open && n <= 125, "a pong always fits");
                if outcome.is_ok() && side.role == Role::Server {
                    let frame = side.role.peer().frame(0x8a, &vec![b'q'; n]);
                    let unsent = side.out.chunks().collect::<Vec<_>>().concat();
                    assert!(unsent.windows(frame.len()).any(|part| part == frame), "a pong that is lost");
                }
            }
            19 => {
                let code = CloseCode::new(1000 + steps.pair() % 4000);
                let reason = "é".repeat(usize::from(steps.byte()) * usize::from(flags & 1));
                let good = reason.len() <= 123 && (code.is_some() || reason.is_empty());
                let open = ws.is_open();
                let outcome = ws.close(code, &reason, now, out);
                assert_eq!(outcome.is_ok(), open && good, "a Close frame always fits");
                assert!(!side.ws.is_open() || !good);
            }
            20 => {
                self.now = now + Duration::from_millis(u64::from(steps.byte()) * 100);
                side.timeout(self.now);
            }
            21 => {
                self.now = side.ws.poll_timeout().map_or(now, |due| due.max(now));
                side.timeout(self.now);
            }
            22 => {
                let early = Instant::from_nanos(1 + now.as_nanos() * u64::from(steps.byte()) / 256);
                side.timeout(early);
            }
            23 if flags == 3 => {
                ws.handle_eof(now);
                assert!(ws.is_ended());
            }
            24 => {
                ws.handle_drained(now);
            }
            // Frames that nobody sent: right ones, wrong ones, and what is none.
            25 | 26 => {
                let bytes = match flags {
                    0 => steps.content(),
                    1 => peer.role.frame(steps.byte(), &steps.content()),
                    2 => peer.role.frame([1, 2, 0x81, 0x82][usize::from(step & 3)] | RSV1, &steps.content()),
                    _ => peer.role.header(steps.byte(), u64::from(steps.pair()) << (steps.byte() % 48)),
                };
                side.link.extend(bytes);
                side.tampered = true;
            }
            27 => {
                let at = usize::from(steps.pair());
                if let Some(byte) = side.link.get_mut(at) {
                    *byte ^= 1 << (flags + 4 * (at & 1) as u8);
                    side.tampered = true;
                }
            }
            28 => {
                // What was not lent is not taken.
                let n = ws.spare().map_or(0, |room| room.len());
                assert_eq!(ws.filled(n + 1, out, now), Ok(()));
                assert!(format!("{ws:?} {out:?}").len() > 10);
                assert!(!ws.takes_message() || ws.is_open() && side.begun.is_none());
            }
            29 => side.read(&[], usize::MAX, flags, now, &mut self.buffers),
            _ => {}
        }
    }

    /// The rest of what was sent arrives; then comes the end, once.
    fn end(mut self) {
        for _ in 0..4 {
            for at in [0, 1] {
                self.sides[at].write(usize::MAX);
                let bytes = std::mem::take(&mut self.sides[at].link);
                self.sides[1 - at].read(&bytes, usize::MAX, 0, self.now, &mut self.buffers);
            }
        }
        for at in [0, 1] {
            let ended = self.sides[at].ws.is_ended();
            self.compare(at, ended);
            let side = &mut self.sides[at];
            side.ws.handle_eof(self.now);
            side.read(&[], usize::MAX, 0, self.now, &mut self.buffers);
            assert!(side.is_over() && side.rest.is_empty());
            assert_eq!(side.seen.iter().filter(|seen| seen.is_closed()).count(), 1);
            side.read(b"\x81\x00", usize::MAX, 0, self.now, &mut self.buffers);
            let Side { ws, out, .. } = side;
            let before = out.len();
            assert_eq!(ws.send_text("late", out), Err(SendError::Closed));
            assert_eq!(ws.begin(Kind::Text, b"late", out), Err(SendError::Closed));
            assert_eq!(ws.append(b"late", out), Err(SendError::Closed));
            assert_eq!(ws.ping(b"late", out), Err(SendError::Closed));
            assert_eq!(ws.close(None, "", self.now, out), Err(SendError::Closed));
            ws.handle_timeout(self.now + Duration::from_secs(1000), out);
            assert_eq!(out.len(), before);

            side.write(usize::MAX);
            assert!(side.reader.is_whole(), "a cut frame");
            let messages: Vec<_> = side
                .reader
                .told
                .iter()
                .filter(|told| matches!(told, Told::Text(_) | Told::Binary(_)))
                .cloned()
                .collect();
            assert_eq!(messages, side.sent);
        }
    }

    /// What the side `at` was told, against what the other one wrote.
    fn compare(&self, at: usize, ended: bool) {
        let (side, peer) = (&self.sides[at], &self.sides[1 - at]);
        if peer.tampered {
            return;
        }
        let asked = side.seen.iter().any(|seen| matches!(seen, Seen::CloseReceived(..)));
        let told: Vec<Told> = join_chunks(side.seen.clone())
            .iter()
            .filter(|seen| !(asked && seen.is_closed()))
            .filter_map(|seen| match seen {
                Seen::Error(
                    Error::FrameTooBig | Error::MessageTooBig | Error::TooManyFragments | Error::TooManyControls,
                ) => None,
                Seen::Error(error) => panic!("{error} in what {:?} wrote", peer.role),
                _ => told_of(seen),
            })
            .collect();
        let mut written = peer.reader.told.clone();
        for one in &mut written {
            if let Told::Close(payload) = one {
                payload.truncate(2);
            }
        }
        if ended {
            assert!(written.starts_with(&told), "{told:?} of {written:?}");
        } else {
            assert_eq!(told, written);
        }
    }
}

fn told_of(seen: &Seen) -> Option<Told> {
    match seen.clone() {
        Seen::Text(text) => Some(Told::Text(text)),
        Seen::Binary(bytes) => Some(Told::Binary(bytes)),
        Seen::Ping(payload) => Some(Told::Ping(payload)),
        Seen::Pong(payload, _) => Some(Told::Pong(payload)),
        Seen::CloseReceived(code, _)
        | Seen::Closed { code, ending: Ending::Peer | Ending::Local | Ending::Idle, .. } => {
            Some(Told::Close(if code == 1005 { Vec::new() } else { code.to_be_bytes().to_vec() }))
        }
        _ => None,
    }
}
