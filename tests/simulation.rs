//! Two machines, a virtual link, a virtual clock: whole conversations, exact to the nanosecond and repeatable by their seed.

mod sim;
mod ws_wire;

use sim::{Line, Machine, Rng, World, runs};
use std::sync::Arc;
use std::time::Duration;
use tautline::ws::{CloseCode, Config, Connection, Ending, Kind, SendError};
use tautline::{Buffers, Input, Instant, Output};
use ws_wire::*;

/// A WebSocket connection at an end of a link.
struct Peer {
    ws: Connection,
    buffers: Buffers,
    seen: Vec<(Instant, Seen)>,
    manner: Manner,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Notes what comes.
    Listens,
    /// Sends every message back.
    Echoes,
    /// Reads nothing of what comes: a process that hangs, whose kernel still takes bytes.
    Hangs,
}

impl Peer {
    fn new(role: Role, config: Config, manner: Manner, now: Instant, rng: &mut Rng) -> Self {
        let config = Arc::new(config.check().expect("valid"));
        let seed = rng.seed16();
        let ws = match role {
            Role::Server => Connection::server(config, seed, now),
            Role::Client => Connection::client(config, seed, now),
        };
        Self { ws, buffers: Buffers::new(), seen: Vec::new(), manner }
    }

    fn read(&mut self, bytes: &mut [u8], out: &mut Output, now: Instant) {
        let mut seen = Vec::new();
        read_all(&mut self.ws, &mut Input::with_buffers(bytes, &mut self.buffers), out, now, &mut seen);
        for one in seen {
            if self.manner == Manner::Echoes {
                match &one {
                    Seen::Text(text) => self.ws.send_text(text, out).expect("room"),
                    Seen::Binary(bytes) => self.ws.send_binary(bytes, out).expect("room"),
                    _ => {}
                }
            }
            assert!(!self.seen.last().is_some_and(|(_, last)| last.is_closed()), "{one:?} behind the end");
            self.seen.push((now, one));
        }
    }

    fn messages(&self) -> Vec<Seen> {
        let message = |seen: &Seen| matches!(seen, Seen::Text(_) | Seen::Binary(_));
        self.seen.iter().map(|(_, seen)| seen.clone()).filter(message).collect()
    }

    /// When and how it ended.
    fn end(&self) -> Option<(Instant, u16, Ending)> {
        let ends: Vec<_> = self
            .seen
            .iter()
            .filter_map(|(at, seen)| match seen {
                Seen::Closed { code, ending, .. } => Some((*at, *code, *ending)),
                _ => None,
            })
            .collect();
        assert!(ends.len() <= 1, "{ends:?}");
        ends.first().copied()
    }

    fn round_trips(&self) -> Vec<Duration> {
        self.seen.iter().filter_map(|(_, seen)| if let Seen::Pong(_, trip) = seen { *trip } else { None }).collect()
    }
}

impl Machine for Peer {
    fn receive(&mut self, bytes: &mut [u8], out: &mut Output, now: Instant) {
        if self.manner != Manner::Hangs {
            self.read(bytes, out, now);
        }
    }

    fn handle_eof(&mut self, out: &mut Output, now: Instant) {
        self.ws.handle_eof(now);
        self.read(&mut [], out, now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if self.manner == Manner::Hangs { None } else { self.ws.poll_timeout() }
    }

    fn handle_timeout(&mut self, now: Instant, out: &mut Output) {
        self.ws.handle_timeout(now, out);
        if self.ws.is_ended() {
            self.read(&mut [], out, now);
        }
    }

    fn is_over(&self) -> bool {
        self.ws.is_ended()
    }
}

type Talk = World<Peer, Peer>;

/// A thin link moves some hundred bytes a second here; a ping that waits behind a megabyte of messages is answered too late, so
/// scenarios that fill such a link beat no heart.
fn without_heartbeat() -> Config {
    config(|config| config.heartbeat = None)
}

/// Lets time pass until `done`, for some hours at most.
fn run_until(world: &mut Talk, done: impl Fn(&Talk) -> bool) {
    for _ in 0..20_000 {
        if done(world) {
            return;
        }
        world.run_for(Duration::from_secs(1));
    }
}

/// A client at `a`, a server at `b`, over two random lines.
fn world(rng: &mut Rng, config: Config, client: Manner, server: Manner) -> Talk {
    let (ab, ba) = (Line::random(rng), Line::random(rng));
    world_over(rng, config, client, server, ab, ba)
}

fn world_over(rng: &mut Rng, config: Config, client: Manner, server: Manner, ab: Line, ba: Line) -> Talk {
    let a = Peer::new(Role::Client, config, client, NOW, rng);
    let b = Peer::new(Role::Server, config, server, NOW, rng);
    World::new(NOW, a, b, ab, ba, rng)
}

fn random_message(rng: &mut Rng) -> Seen {
    let len = [0, 5, 125, 126, 1000, 30_000][rng.below(6)];
    let len = rng.range(len / 2, len);
    if rng.chance(50) {
        Seen::Text(["a", "é", "漢", "😀"][rng.below(4)].repeat(len / 3))
    } else {
        Seen::Binary((0..len).map(|_| rng.next() as u8).collect())
    }
}

/// Sends in one of the ways there are.
fn send(world: &mut Talk, message: &Seen) -> Result<(), SendError> {
    let fragmented = world.rng.chance(30);
    let (ws, out) = (&mut world.a.machine.ws, &mut world.a.out);
    let (kind, bytes) = match message {
        Seen::Text(text) if !fragmented => return ws.send_text(text, out),
        Seen::Binary(bytes) if !fragmented => return ws.send_binary(bytes, out),
        Seen::Text(text) => (Kind::Text, text.as_bytes()),
        Seen::Binary(bytes) => (Kind::Binary, &bytes[..]),
        other => panic!("{other:?} is no message"),
    };
    let cut = world.rng.below(bytes.len() + 1);
    ws.begin(kind, &bytes[..cut], out)?;
    ws.ping(b"between", out)?;
    ws.finish(&bytes[cut..], out)
}

#[test]
fn a_conversation_over_any_link_comes_back_exactly_and_ends_cleanly_on_both_sides() {
    runs(150, |rng| {
        let mut world = world(rng, without_heartbeat(), Manner::Listens, Manner::Echoes);
        let mut sent = Vec::new();
        for _ in 0..rng.range(1, 12) {
            let message = random_message(rng);
            send(&mut world, &message).expect("room");
            sent.push(message);
            world.run_for(rng.millis(0, 2000));
        }
        run_until(&mut world, |world| world.a.machine.messages().len() == sent.len());
        assert!(world.a.machine.messages() == sent, "the echo differs");
        assert!(world.b.machine.messages() == sent, "what arrived differs");
        let (ws, out) = (&mut world.a.machine.ws, &mut world.a.out);
        ws.close(Some(CloseCode::NORMAL), "done", world.now, out).expect("open");
        world.run_to_the_end();
        assert!(matches!(world.a.machine.end(), Some((_, 1000, Ending::Local))));
        assert!(matches!(world.b.machine.end(), Some((_, 1000, Ending::Peer))));
        assert!(world.a.closed && world.b.closed);
    });
}

#[test]
fn k4_heartbeats_keep_a_silent_line_for_hours_and_measure_its_delay_exactly() {
    runs(40, |rng| {
        let mut world = world(rng, Config::DEFAULT, Manner::Listens, Manner::Listens);
        let trip = world.ab.delay() + world.ba.delay();
        world.run_for(Duration::from_secs(3 * 3600));
        let trips = [world.a.machine.round_trips(), world.b.machine.round_trips()].concat();
        assert!(trips.iter().all(|measured| *measured == trip), "{trips:?} over a link of {trip:?}");
        // One ping per interval (22.5 to 25 s) keeps both sides content; both may ping.
        let least = 3 * 3600 / 26;
        assert!((least..=2 * 3 * 3600 / 22).contains(&trips.len()), "{}", trips.len());
        assert!(world.a.machine.end().is_none() && world.b.machine.end().is_none());
    });
}

#[test]
fn k4_a_line_that_goes_dead_is_noticed_after_interval_and_deadline_on_both_sides() {
    runs(60, |rng| {
        let mut world = world(rng, Config::DEFAULT, Manner::Listens, Manner::Listens);
        world.run_for(rng.millis(0, 100_000));
        let dead = world.now;
        world.stall(Duration::from_secs(100_000));
        world.run_for(Duration::from_secs(60));
        for peer in [&world.a.machine, &world.b.machine] {
            let (at, code, ending) = peer.end().expect("noticed");
            assert_eq!((code, ending), (1006, Ending::PingTimeout));
            let after = at.saturating_duration_since(dead);
            assert!(after <= Duration::from_secs(35), "{after:?} after the line went dead");
        }
    });
}

#[test]
fn c7_a_peer_that_hangs_is_left_at_the_close_deadline_exactly() {
    runs(40, |rng| {
        let mut world = world(rng, Config::DEFAULT, Manner::Listens, Manner::Hangs);
        world.run_for(rng.millis(0, 20_000));
        let asked = world.now;
        let (ws, out) = (&mut world.a.machine.ws, &mut world.a.out);
        ws.close(Some(CloseCode::GOING_AWAY), "", asked, out).expect("open");
        world.run_to_the_end();
        assert_eq!(world.a.machine.end(), Some((asked + Duration::from_secs(5), 1006, Ending::CloseTimeout)));
        assert!(world.a.closed);
    });
}

#[test]
fn c7_a_peer_that_keeps_talking_while_we_close_extends_nothing() {
    runs(40, |rng| {
        let (ab, ba) = (Line::random(rng), Line::random(rng));
        let mut world = world_over(rng, Config::DEFAULT, Manner::Listens, Manner::Hangs, ab, ba);
        let asked = world.now;
        let (ws, out) = (&mut world.a.machine.ws, &mut world.a.out);
        ws.close(Some(CloseCode::NORMAL), "", asked, out).expect("open");
        for i in 0..100 {
            if world.a.closed {
                break;
            }
            let (ws, out) = (&mut world.b.machine.ws, &mut world.b.out);
            ws.send_text("and another thing", out).expect("room");
            if i % 3 == 0 {
                ws.ping(b"", out).expect("room");
            }
            world.run_for(Duration::from_millis(100));
        }
        let (at, _, ending) = world.a.machine.end().expect("the deadline");
        assert_eq!((at, ending), (asked + Duration::from_secs(5), Ending::CloseTimeout));
        assert!(!world.a.machine.messages().is_empty(), "what comes before the answer is delivered");
    });
}

#[test]
fn c8_both_sides_close_at_about_the_same_time_and_each_ends_once_cleanly() {
    runs(150, |rng| {
        let mut world = world(rng, Config::DEFAULT, Manner::Listens, Manner::Listens);
        world.run_for(rng.millis(0, 60_000));
        let first_is_a = rng.chance(50);
        let gap = if rng.chance(30) { Duration::ZERO } else { rng.millis(0, 700) };
        let mut by = [false, false];
        for i in 0..2 {
            let now = world.now;
            let side = if first_is_a == (i == 0) { 0 } else { 1 };
            let (code, peer) =
                if side == 0 { (CloseCode::NORMAL, &mut world.a) } else { (CloseCode::GOING_AWAY, &mut world.b) };
            match peer.machine.ws.close(Some(code), "", now, &mut peer.out) {
                Ok(()) => by[side] = true,
                Err(e) => assert_eq!(e, SendError::Closed),
            }
            world.run_for(gap);
        }
        world.run_to_the_end();
        for (side, peer) in [&world.a, &world.b].into_iter().enumerate() {
            let (_, code, ending) = peer.machine.end().expect("an end");
            let (own, other) = if side == 0 { (1000, 1001) } else { (1001, 1000) };
            if by[side] {
                assert_eq!(ending, Ending::Local);
                assert_eq!(code, if by[1 - side] { other } else { own });
            } else {
                assert_eq!((code, ending), (other, Ending::Peer));
            }
            assert!(peer.closed);
        }
    });
}

#[test]
fn a_stalled_link_blocks_the_output_and_loses_nothing_when_it_goes_on() {
    runs(60, |rng| {
        let capacity = [100, 5000, 65_536][rng.below(3)];
        let piece = rng.range(capacity / 50 + 1, capacity);
        let line = Line { delay: rng.millis(0, 50), capacity, piece };
        let mut world = world_over(rng, without_heartbeat(), Manner::Listens, Manner::Listens, line, line);
        world.run_for(rng.millis(0, 5000));
        world.stall(rng.millis(1000, 15_000));
        let (mut sent, mut refused) = (Vec::new(), 0);
        for _ in 0..60 {
            let message = random_message(rng);
            let before = unsent(&world.a.out);
            let (ws, out) = (&mut world.a.machine.ws, &mut world.a.out);
            let outcome = match &message {
                Seen::Text(text) => ws.send_text(text, out),
                Seen::Binary(bytes) => ws.send_binary(bytes, out),
                _ => Ok(()),
            };
            match outcome {
                Ok(()) => sent.push(message),
                Err(SendError::Full(full)) => {
                    refused += 1;
                    assert_eq!(full.limit, Output::LIMIT);
                    assert_eq!(unsent(&world.a.out), before, "a refused message leaves nothing");
                }
                Err(other) => panic!("{other}"),
            }
            // The server pings, too; its pings wait at the client's end of a link that moves nothing.
            if rng.chance(20) {
                let (ws, out) = (&mut world.b.machine.ws, &mut world.b.out);
                ws.ping(b"still there?", out).expect("room");
            }
            world.run_for(rng.millis(0, 20));
        }
        assert!(world.a.out.is_blocked() || sent.len() < 5, "a link of {capacity} bytes that stands still");
        run_until(&mut world, |world| world.b.machine.messages().len() == sent.len());
        assert!(world.b.machine.messages() == sent, "what arrived differs");
        world.run_for(Duration::from_secs(20));
        assert!(world.a.out.is_empty() && !world.a.out.is_blocked());
        assert!(world.a.machine.end().is_none() && world.b.machine.end().is_none());
        assert!(refused == 0 || sent.len() > 10);
    });
}

#[test]
fn f22_a_side_that_goes_away_in_the_middle_of_a_message_is_1006_on_the_other() {
    runs(100, |rng| {
        let mut world = world(rng, Config::DEFAULT, Manner::Listens, Manner::Listens);
        world.run_for(rng.millis(0, 1000));
        let message = random_message(rng);
        send(&mut world, &message).expect("room");
        let (ws, out) = (&mut world.a.machine.ws, &mut world.a.out);
        ws.begin(Kind::Text, &[b'x'; 3000], out).expect("room");
        world.run_for(rng.millis(0, 800));
        // The process dies: what it had not written never comes.
        world.a.out.clear();
        world.a.machine.ws.handle_eof(world.now);
        world.run_for(Duration::from_secs(3));
        assert!(world.a.closed && world.b.closed);
        assert!(matches!(world.b.machine.end(), Some((_, 1006, Ending::Eof))));
        let messages = world.b.machine.messages();
        assert!(messages.is_empty() || messages == [message], "all of it or nothing");
    });
}
