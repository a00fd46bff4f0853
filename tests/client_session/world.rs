//! A session, a clock and the bytes of a server.

use std::time::Duration;
use tautline::client::{Lane, Presence, Session, SessionConfig, SessionEvent, Transport, Transports};
use tautline::http::upgrade::accept_value;
use tautline::http::url::Url;
use tautline::hub::{Cursor, LogId, Position};
use tautline::{Input, Instant, Output};

/// A session, what its lanes have to write, and what it said.
pub(crate) struct World {
    pub(crate) session: Session,
    pub(crate) now: Instant,
    outs: [Output; 3],
    log: Vec<String>,
    /// Wishes in the order in which they came.
    wishes: Vec<(Wish, Lane)>,
    key: String,
    /// The server's bytes come in pieces of this size.
    pub(crate) cut: usize,
    /// The subprotocol that the server chooses.
    pub(crate) protocol: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Connect,
    Drop,
}

impl World {
    pub(crate) fn new(config: SessionConfig, topics: &[&str]) -> Self {
        Self::seeded(config, topics, 7)
    }

    pub(crate) fn seeded(config: SessionConfig, topics: &[&str], seed: u64) -> Self {
        let endpoint = config.check(&Url::parse("http://example.com/hub/").unwrap()).unwrap();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let mut session = Session::new(endpoint, bytes);
        for topic in topics {
            session.subscribe(topic, None).unwrap();
        }
        let outs = [Output::new(), Output::new(), Output::new()];
        let now = Instant::ORIGIN;
        let mut world = Self {
            session,
            now,
            outs,
            log: vec![],
            wishes: vec![],
            key: "A".repeat(24),
            cut: usize::MAX,
            protocol: "Sec-WebSocket-Protocol: tautline\r\n",
        };
        world.turn();
        world
    }

    /// Asks all lanes until there is nothing more, as a driver does after each call.
    pub(crate) fn turn(&mut self) {
        for lane in Lane::ALL {
            self.ask(lane, &mut []);
        }
    }

    fn ask(&mut self, lane: Lane, bytes: &mut [u8]) {
        let mut input = Input::new(bytes);
        for turn in 0.. {
            assert!(turn < 100_000, "it never ends");
            let Some(event) = self.session.next_event(lane, &mut input, &mut self.outs[lane.index()], self.now) else {
                break;
            };
            let said = match event {
                SessionEvent::Connect(lane) => {
                    self.outs[lane.index()].clear();
                    self.wishes.push((Wish::Connect, lane));
                    continue;
                }
                SessionEvent::Drop(lane) => {
                    self.wishes.push((Wish::Drop, lane));
                    continue;
                }
                SessionEvent::Attached(transport) => format!("attached {transport}"),
                SessionEvent::Message(message) => {
                    let ephemeral = if message.cursor.is_none() { "ephemeral " } else { "" };
                    format!("{ephemeral}{} {}", message.topic, message.data)
                }
                SessionEvent::Gap(gaps) => {
                    gaps.map(|gap| format!("gap {} {}", gap.topic, gap.reason)).collect::<Vec<_>>().join(", ")
                }
                SessionEvent::Presence { topic, presence } => match presence {
                    Presence::Here { count, users } => {
                        format!("{topic} here {count}: {}", users.collect::<Vec<_>>().join(" "))
                    }
                    Presence::Join(user) => format!("{topic} join {user}"),
                    Presence::Leave(user) => format!("{topic} leave {user}"),
                    other => format!("{topic} {other:?}"),
                },
                SessionEvent::Subscribed { topic } => format!("subscribed {topic}"),
                SessionEvent::Unsubscribed { topic, reason } => format!("unsubscribed {topic} {reason}"),
                SessionEvent::Acknowledged { key, cursor } => format!("acknowledged {key} {}", cursor.position.seq),
                SessionEvent::Refused(refused) => {
                    format!("refused {} {} {}", refused.status, refused.command, refused.key.unwrap_or_default())
                }
                SessionEvent::Lost { cause, next, .. } => format!("lost: {cause}; next {next}"),
                SessionEvent::Closed(closed) => format!("closed: {closed}"),
                other => format!("{other:?}"),
            };
            self.log.push(said);
        }
    }

    /// What was said since the last time.
    pub(crate) fn log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    /// The wishes since the last time.
    pub(crate) fn wishes(&mut self) -> Vec<(Wish, Lane)> {
        std::mem::take(&mut self.wishes)
    }

    /// Takes the one connection that is wanted, whatever is to be dropped before it.
    #[track_caller]
    pub(crate) fn expect_connect(&mut self) -> Lane {
        let wishes = self.wishes();
        match wishes.iter().filter(|(wish, _)| *wish == Wish::Connect).collect::<Vec<_>>()[..] {
            [(_, lane)] => *lane,
            _ => panic!("one connection is wanted: {wishes:?}; {:?}", self.log),
        }
    }

    /// The connection stands; what is written first.
    pub(crate) fn connected(&mut self, lane: Lane) -> String {
        self.outs[lane.index()].clear();
        self.session.connected(lane, self.now);
        self.turn();
        let request = self.written(lane);
        if let Some((_, rest)) = request.split_once("Sec-WebSocket-Key: ") {
            self.key = rest.split("\r\n").next().unwrap().to_owned();
        }
        request
    }

    pub(crate) fn connect_failed(&mut self, lane: Lane) {
        self.session.connect_failed(lane, self.now);
        self.turn();
    }

    /// What the lane has to write.
    pub(crate) fn written(&mut self, lane: Lane) -> String {
        let out = &mut self.outs[lane.index()];
        let bytes: Vec<u8> = out.chunks().flatten().copied().collect();
        out.clear();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The WebSocket messages and Close frames that the lane has to write, unmasked.
    pub(crate) fn messages(&mut self, lane: Lane) -> Vec<String> {
        let out = &mut self.outs[lane.index()];
        let bytes: Vec<u8> = out.chunks().flatten().copied().collect();
        out.clear();
        let (mut at, mut messages) = (0, vec![]);
        while at < bytes.len() {
            let (opcode, mut len, mut head) = (bytes[at] & 15, usize::from(bytes[at + 1] & 127), 2);
            if len == 126 {
                len = usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
                head = 4;
            }
            let key = &bytes[at + head..at + head + 4];
            let payload: Vec<u8> =
                bytes[at + head + 4..][..len].iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
            messages.push(match opcode {
                8 => format!("close {}", u16::from_be_bytes([payload[0], payload[1]])),
                _ => String::from_utf8(payload).unwrap(),
            });
            at += head + 4 + len;
        }
        messages
    }

    /// Bytes from the server.
    pub(crate) fn feed(&mut self, lane: Lane, bytes: &[u8]) {
        for piece in bytes.chunks(self.cut.max(1)) {
            self.ask(lane, &mut piece.to_vec());
            self.turn();
        }
    }

    /// The server accepts the WebSocket.
    pub(crate) fn switch(&mut self, lane: Lane) {
        let accept = accept_value(self.key.as_bytes().try_into().unwrap());
        let accept = std::str::from_utf8(&accept).unwrap();
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{}\r\n",
            self.protocol
        );
        self.feed(lane, answer.as_bytes());
    }

    /// A text message.
    pub(crate) fn text(&mut self, lane: Lane, text: &str) {
        let mut frame = vec![0x81];
        match text.len() {
            len @ 0..126 => frame.push(len as u8),
            len @ 126..65536 => {
                frame.push(126);
                frame.extend((len as u16).to_be_bytes());
            }
            len => {
                frame.push(127);
                frame.extend((len as u64).to_be_bytes());
            }
        }
        frame.extend(text.as_bytes());
        self.feed(lane, &frame);
    }

    /// A Close frame.
    pub(crate) fn close(&mut self, lane: Lane, code: u16, reason: &str) {
        let mut frame = vec![0x88, 2 + reason.len() as u8];
        frame.extend(code.to_be_bytes());
        frame.extend(reason.as_bytes());
        self.feed(lane, &frame);
    }

    /// The head of an event stream.
    pub(crate) fn stream(&mut self, lane: Lane) {
        self.feed(lane, b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
    }

    /// A whole answer with further header lines.
    pub(crate) fn answer(&mut self, lane: Lane, status: &str, headers: &str, body: &str) {
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/event-stream\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.feed(lane, answer.as_bytes());
    }

    pub(crate) fn eof(&mut self, lane: Lane) {
        self.session.handle_eof(lane, self.now);
        self.turn();
    }

    /// Time passes, deadline by deadline.
    pub(crate) fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(at) = self.session.poll_timeout().filter(|at| *at <= end) {
            assert!(at >= self.now, "a deadline in the past");
            self.now = at;
            self.turn();
            assert!(self.session.poll_timeout().is_none_or(|next| next > at), "a deadline that stays");
        }
        self.now = end;
    }

    /// Until the next deadline; how long that was.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> Duration {
        let at = self.session.poll_timeout().expect("a deadline");
        let waited = at.saturating_duration_since(self.now);
        self.pass(waited);
        waited
    }
}

pub(crate) fn cursor(seq: u64) -> Cursor {
    Cursor { position: Position { ms: 7, seq }, log: Some(LogId(1)) }
}

pub(crate) fn event(seq: u64, topic: &str, data: &str) -> String {
    format!("id: {}\ntopic: {topic}\ndata: {data}\n\n", cursor(seq))
}

pub(crate) fn position(seq: u64) -> String {
    format!("id: {}\n\n", cursor(seq))
}

/// What comes first on a WebSocket or a stream, where nothing was missed.
pub(crate) fn attach(seq: u64) -> String {
    format!("event: tautline.session\ndata: session 5e551\ndata: heartbeat 20000\n\n{}", position(seq))
}

pub(crate) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) fn only(transport: Transport) -> SessionConfig {
    SessionConfig { transports: Transports::only(transport), ..SessionConfig::default() }
}

/// A world whose session is attached by its only transport.
pub(crate) fn attached(config: SessionConfig, topics: &[&str]) -> (World, Lane) {
    let transport = Transport::ALL.into_iter().find(|t| config.transports.contains(*t)).unwrap();
    let mut world = World::new(config, topics);
    let lane = world.expect_connect();
    attach_lane(&mut world, lane, transport);
    assert_eq!(world.log(), [format!("attached {transport}")]);
    (world, lane)
}

pub(crate) fn attach_lane(world: &mut World, lane: Lane, transport: Transport) -> String {
    let request = world.connected(lane);
    match transport {
        Transport::WebSocket => {
            world.switch(lane);
            world.text(lane, &attach(10));
        }
        Transport::EventStream => {
            world.stream(lane);
            world.feed(lane, attach(10).as_bytes());
        }
        Transport::LongPoll => {
            world.answer(lane, "200 OK", "Tautline-Session: 5e551\r\n", &position(10));
        }
    }
    request
}
