//! Clients of a hub, made by hand: blocks over a WebSocket, an event stream, or polls.

use super::wire::{CLOSE, Client, End, PING, PONG, Response, TEXT};
use super::{On, Running, config, start};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tautline::http::RequestHead;
use tautline::hub::{Authority, HubConfig, Policies, PresenceLimits, SlowReader, TopicPolicy, WhoIsHere};
use tautline::net::{Config, Endpoint, HubSettings};

/// Lines of the application's, which every answer has.
pub const CORS: [(&str, &str); 2] = [("Access-Control-Allow-Origin", "https://a.example"), ("Vary", "Origin")];

pub fn on() -> On {
    On {
        request: |_, head: &RequestHead<'_>, cx| {
            let _ = match Endpoint::of(head.path()) {
                Some(endpoint) => cx.hub(head, endpoint, &CORS),
                None => cx.reject(404),
            };
        },
        ..On::default()
    }
}

/// Topics that begin with `room` keep presence, `behind` falls behind.
pub fn settings() -> HubConfig {
    let policies = Policies::default()
        .with("room", TopicPolicy { presence: WhoIsHere::Kept, ..TopicPolicy::default() })
        .with("behind", TopicPolicy { slow: SlowReader::FallBehind, ..TopicPolicy::default() });
    let presence = PresenceLimits { grace: Duration::from_millis(400), ..PresenceLimits::default() };
    HubConfig { policies, presence, ..HubConfig::default() }
}

pub fn with(hub: HubConfig, authority: impl Authority + 'static) -> Config {
    Config { hub: Some(HubSettings { hub, authority: Arc::new(authority) }), ..config() }
}

pub fn open(hub: HubConfig) -> Config {
    with(hub, tautline::hub::Open)
}

pub fn hub(workers: usize) -> Running {
    start(&open(settings()), workers, on())
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    pub id: Option<String>,
    pub topic: Option<String>,
    pub event: String,
    pub data: Option<String>,
}

impl Block {
    pub fn parse(text: &str) -> Self {
        let mut block = Self { event: "message".into(), ..Self::default() };
        for line in text.lines() {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "id" => block.id = Some(value.into()),
                "topic" => block.topic = Some(value.into()),
                "event" => block.event = value.into(),
                "data" => match &mut block.data {
                    Some(data) => *data = format!("{data}\n{value}"),
                    none => *none = Some(value.into()),
                },
                _ => {}
            }
        }
        block
    }

    pub fn is_position(&self) -> bool {
        self.data.is_none() && self.id.is_some()
    }

    pub fn is(&self, event: &str) -> bool {
        self.event == format!("tautline.{event}")
    }

    /// As one word: an event's data, or of the protocol's own its name, topic and data.
    pub fn word(&self) -> String {
        let data = self.data.clone().unwrap_or_default();
        match self.event.strip_prefix("tautline.") {
            None if self.data.is_none() => "position".into(),
            None => data,
            Some(own) => match &self.topic {
                Some(topic) => format!("{own} {topic} {data}"),
                None => format!("{own} {data}"),
            },
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    WebSocket,
    Events,
}

pub const BOTH: [Via; 2] = [Via::WebSocket, Via::Events];

/// A subscriber that stays.
pub struct Sub {
    pub client: Client,
    pub via: Via,
    pub session: String,
    pub heartbeat: Duration,
    /// The last id.
    pub cursor: String,
}

pub fn ws_request(query: &str, lines: &str) -> String {
    format!(
        "GET /ws?{query} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: tautline\r\n{lines}\r\n"
    )
}

impl Sub {
    /// Asks, and reads the head of the answer.
    pub fn ask(address: SocketAddr, via: Via, query: &str, lines: &str) -> (Self, String) {
        Self::ask_over(Client::connect(address), via, query, lines)
    }

    pub fn ask_over(mut client: Client, via: Via, query: &str, lines: &str) -> (Self, String) {
        match via {
            Via::WebSocket => client.write(ws_request(query, lines).as_bytes()),
            Via::Events => client.write(
                format!("GET /events?{query} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n{lines}\r\n")
                    .as_bytes(),
            ),
        }
        let head = client.head();
        let sub = Self { client, via, session: String::new(), heartbeat: Duration::ZERO, cursor: String::new() };
        (sub, head)
    }

    /// Attaches; the session is read.
    #[track_caller]
    pub fn begin(address: SocketAddr, via: Via, query: &str, lines: &str) -> Self {
        let (mut sub, head) = Self::ask(address, via, query, lines);
        let status = if via == Via::WebSocket { "101" } else { "200" };
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
        sub.welcomed();
        sub
    }

    #[track_caller]
    pub fn welcomed(&mut self) {
        let welcome = self.block();
        assert!(welcome.is("session"), "{welcome:?}");
        for line in welcome.data.unwrap().lines() {
            match line.split_once(' ') {
                Some(("session", token)) => self.session = token.into(),
                Some(("heartbeat", ms)) => self.heartbeat = Duration::from_millis(ms.parse().unwrap()),
                _ => {}
            }
        }
    }

    /// Attaches, and returns what came before the position block, as words.
    #[track_caller]
    pub fn attach(address: SocketAddr, via: Via, query: &str) -> (Self, Vec<String>) {
        let mut sub = Self::begin(address, via, query, "");
        let words = sub.until_position();
        (sub, words)
    }

    /// What comes, this many of it, when it attaches: what another worker published a moment ago may come behind the position block.
    #[track_caller]
    pub fn replay(address: SocketAddr, via: Via, query: &str, count: usize) -> (Self, Vec<String>) {
        let mut sub = Self::begin(address, via, query, "");
        let words = sub.words(count);
        (sub, words)
    }

    #[track_caller]
    pub fn new(address: SocketAddr, via: Via, query: &str) -> Self {
        Self::attach(address, via, query).0
    }

    #[track_caller]
    pub fn until_position(&mut self) -> Vec<String> {
        let mut words = Vec::new();
        loop {
            let block = self.block();
            if block.is_position() {
                return words;
            }
            words.push(block.word());
        }
    }

    pub fn try_block(&mut self) -> Result<Block, End> {
        loop {
            let text = match self.via {
                Via::WebSocket => {
                    let frame = self.client.try_frame()?;
                    match frame.opcode {
                        PING => {
                            self.client.send(PONG, &frame.payload);
                            continue;
                        }
                        PONG => continue,
                        CLOSE => {
                            let code = frame.close_code();
                            let reason = String::from_utf8(frame.payload[2..].to_vec()).unwrap();
                            return Ok(Block { event: format!("close {code} {reason}"), ..Block::default() });
                        }
                        _ => assert_eq!(frame.opcode, TEXT),
                    }
                    frame.text().to_owned()
                }
                Via::Events => {
                    let chunk = self.client.try_chunk()?;
                    if chunk.is_empty() {
                        return Ok(Block { event: "end".into(), ..Block::default() });
                    }
                    String::from_utf8(chunk).unwrap()
                }
            };
            if text.starts_with(':') {
                continue;
            }
            assert_eq!(text.matches("\n\n").count(), 1, "one block at a time: {text:?}");
            let block = Block::parse(&text);
            if let Some(id) = &block.id {
                self.cursor = id.clone();
            }
            if block.id.is_some() || block.data.is_some() {
                return Ok(block);
            }
        }
    }

    #[track_caller]
    pub fn block(&mut self) -> Block {
        self.try_block().expect("a block")
    }

    /// The next block that is no position block, as a word.
    #[track_caller]
    pub fn word(&mut self) -> String {
        loop {
            let block = self.block();
            if !block.is_position() {
                return if block.data.is_none() { block.event } else { block.word() };
            }
        }
    }

    #[track_caller]
    pub fn words(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.word()).collect()
    }

    /// Says a block.
    pub fn say(&mut self, lines: &str) {
        self.client.send_text(&format!("{lines}\n\n"));
    }
}

/// What a poll was answered with.
#[derive(Debug)]
pub struct Polled {
    pub response: Response,
    pub words: Vec<String>,
    pub last: String,
    pub more: bool,
    pub session: Option<String>,
}

pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (known, value) = line.split_once(": ")?;
        known.eq_ignore_ascii_case(name).then_some(value)
    })
}

pub fn ask_poll(client: &mut Client, query: &str) {
    client.write(format!("GET /poll?{query} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n").as_bytes());
}

#[track_caller]
pub fn polled(client: &mut Client) -> Polled {
    let response = client.response();
    assert_eq!(response.status, 200, "{response:?}");
    let blocks: Vec<_> = response.text().split_terminator("\n\n").map(Block::parse).collect();
    let position = blocks.last().filter(|block| block.is_position()).expect("a position block").clone();
    let words = blocks[..blocks.len() - 1].iter().map(Block::word).collect();
    Polled {
        words,
        last: position.id.unwrap(),
        more: header(&response.head, "Tautline-More") == Some("1"),
        session: header(&response.head, "Tautline-Session").map(String::from),
        response,
    }
}

#[track_caller]
pub fn poll(address: SocketAddr, query: &str) -> Polled {
    let mut client = Client::connect(address);
    ask_poll(&mut client, query);
    polled(&mut client)
}

pub fn send(client: &mut Client, method: &str, target: &str, lines: &str, body: &[u8]) {
    let head = format!("{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n{lines}\r\n", body.len());
    client.write(&[head.as_bytes(), body].concat());
}

/// A POST on a connection of its own.
#[track_caller]
pub fn post(address: SocketAddr, target: &str, lines: &str, body: &str) -> Response {
    let mut client = Client::connect(address);
    send(&mut client, "POST", target, lines, body.as_bytes());
    client.response()
}

/// Publishes, and returns the cursor.
#[track_caller]
pub fn publish(address: SocketAddr, query: &str, data: &str) -> String {
    let response = post(address, &format!("/publish?{query}"), "", data);
    assert_eq!(response.status, 200, "{response:?}");
    response.text().split('"').nth(3).unwrap().to_owned()
}
