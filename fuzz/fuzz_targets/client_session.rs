//! Bytes, time and cuts into a client session, as any transport and in any order of calls. It must not panic, not spin on a deadline and
//! not report an event twice or out of order.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::time::Duration;
use tautline::client::{Acknowledge, Lane, Publication, Session, SessionConfig, SessionEvent, Transport, Transports};
use tautline::http::url::Url;
use tautline::hub::Cursor;
use tautline::{Input, Instant, Output};

struct Run {
    session: Session,
    outs: [Output; 3],
    now: Instant,
    last: Option<Cursor>,
    closed: usize,
}

impl Run {
    fn ask(&mut self, lane: Lane, bytes: &mut [u8]) {
        let mut input = Input::new(bytes);
        for turn in 0.. {
            assert!(turn < 100_000, "it never ends");
            let out = &mut self.outs[lane.index()];
            let Some(event) = self.session.next_event(lane, &mut input, out, self.now) else { break };
            match event {
                SessionEvent::Connect(lane) => self.outs[lane.index()].clear(),
                // From there on another order may begin.
                SessionEvent::Gap(gaps) => {
                    gaps.for_each(drop);
                    self.last = None;
                }
                SessionEvent::Message(message) if message.topic == "a" => {
                    if let (Some(cursor), Some(last)) = (message.cursor, self.last) {
                        assert!(cursor.log != last.log || cursor.position > last.position, "{last} then {cursor}");
                    }
                    self.last = message.cursor.or(self.last);
                }
                SessionEvent::Closed(_) => self.closed += 1,
                _ => {}
            }
        }
        assert!(self.closed <= 1);
    }

    fn ask_all(&mut self) {
        for lane in Lane::ALL {
            self.ask(lane, &mut []);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&mode, mut data)) = data.split_first() else { return };
    let transports = match mode & 3 {
        0 => Transports::ALL,
        1 => Transports::only(Transport::WebSocket),
        2 => Transports::only(Transport::EventStream),
        _ => Transports::only(Transport::LongPoll),
    };
    let acknowledge = match mode >> 2 & 3 {
        0 => Acknowledge::Never,
        1 => Acknowledge::Automatic,
        _ => Acknowledge::ByCaller,
    };
    let config = SessionConfig { transports, acknowledge, ..SessionConfig::default() };
    let endpoint = config.check(&Url::parse("http://example.com/hub").unwrap()).unwrap();
    let mut session = Session::new(endpoint, [mode; 16]);
    session.subscribe("a", None).unwrap();
    let outs = [Output::new(), Output::new(), Output::new()];
    let mut run = Run { session, outs, now: Instant::ORIGIN, last: None, closed: 0 };
    run.ask_all();
    while let [op, rest @ ..] = data {
        data = rest;
        let lane = Lane::ALL[usize::from(op >> 4) % 3];
        match op & 15 {
            0 => run.session.connected(lane, run.now),
            1 => run.session.connect_failed(lane, run.now),
            2 => run.session.handle_eof(lane, run.now),
            3 => run.outs[lane.index()].clear(),
            4 => {
                if let Some(at) = run.session.poll_timeout() {
                    run.now = run.now.max(at);
                    run.ask_all();
                    assert!(run.session.poll_timeout().is_none_or(|next| next > run.now), "a deadline that stays");
                }
            }
            5 => run.now = run.now + Duration::from_millis(u64::from(*op) * 100),
            6 => drop(run.session.publish(&Publication::new("a", "x"))),
            7 => drop(run.session.publish(&Publication::new("a", "x").ephemeral())),
            8 => drop(run.session.subscribe("b", Some(Cursor::START))),
            9 => drop(run.session.unsubscribe("b")),
            10 => run.session.ack(Cursor::START, run.now),
            11 if *op > 0xf0 => run.session.close(),
            _ => {
                let Some((&len, rest)) = data.split_first() else { break };
                let (piece, rest) = rest.split_at(usize::from(len).min(rest.len()));
                data = rest;
                // The answer that opens a WebSocket cannot be guessed; it is made from what was asked.
                match op & 15 {
                    12 => {
                        let written: Vec<u8> = run.outs[lane.index()].chunks().flatten().copied().collect();
                        if let Some(answer) = switch(&written) {
                            run.outs[lane.index()].clear();
                            run.ask(lane, &mut answer.into_bytes());
                        }
                    }
                    13 => run.ask(lane, &mut b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n".to_vec()),
                    _ => {}
                }
                run.ask(lane, &mut piece.to_vec());
            }
        }
        run.ask_all();
    }
});

fn switch(written: &[u8]) -> Option<String> {
    let request = std::str::from_utf8(written).ok()?;
    let key = request.split("Sec-WebSocket-Key: ").nth(1)?.split("\r\n").next()?;
    let accept = tautline::http::upgrade::accept_value(key.as_bytes().try_into().ok()?);
    let accept = std::str::from_utf8(&accept).ok()?;
    Some(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: tautline\r\n\r\n"
    ))
}
