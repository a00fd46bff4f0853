//! The program as a child, and what speaks to it: HTTP, event streams and WebSockets, written out byte by byte so that no code of the
//! crate checks itself.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Nothing here takes longer, on however busy a machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
    pub(crate) address: SocketAddr,
    /// What it said at the start.
    pub(crate) greeting: String,
}

/// The program, built if it is not: cargo builds examples for a run of all tests, and not for one of this file alone.
pub(crate) fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--example", "server", "--message-format", "json"]);
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        let out = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::inherit()).output().expect("cargo runs");
        let mut messages =
            out.stdout.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
        let built = messages.rfind(|message| message["target"]["name"] == "server");
        PathBuf::from(built.expect("it is built")["executable"].as_str().expect("a program"))
    })
}

/// Runs it to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    Command::new(program()).args(args).output().expect("it runs")
}

impl Server {
    /// Starts it on a free port of 127.0.0.1, unless `args` say otherwise.
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut child =
            Command::new(program()).args(["--port", "0"]).args(args).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut said = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        said.read_line(&mut line).expect("it says where");
        let address = line.split(['/', ' ']).find_map(|part| part.parse::<SocketAddr>().ok()).expect(&line);
        let address = SocketAddr::from(([127, 0, 0, 1], address.port()));
        let mut server = Self { child, said, address, greeting: line };
        loop {
            let line = server.line();
            server.greeting += &line;
            if line.starts_with("Ctrl-C") {
                break;
            }
        }
        server
    }

    /// The next line that it says.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("a line");
        assert!(!line.is_empty(), "it said no more");
        line
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Its exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return status.code();
            }
            assert!(Instant::now() < end, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let line = TcpStream::connect(self.address).expect("it listens");
        line.set_read_timeout(Some(PATIENCE)).unwrap();
        line
    }

    /// Sends a request, and the lines that it needs besides `headers`.
    pub(crate) fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> TcpStream {
        let mut request = format!("{method} {target} HTTP/1.1\r\n");
        let host = self.address.to_string();
        if !headers.iter().any(|(name, _)| *name == "Host") {
            request += &format!("Host: {host}\r\n");
        }
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() || method == "POST" {
            request += &format!("Content-Length: {}\r\n", body.len());
        }
        let mut line = self.connect();
        // In one go: an answer that comes before the body is read must not find the connection reset.
        line.write_all(&[request.as_bytes(), b"\r\n", body].concat()).expect("it reads");
        line
    }

    /// One request and its whole answer.
    pub(crate) fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let headers = [headers, &[("Connection", "close")]].concat();
        let mut line = BufReader::new(self.send(method, target, &headers, body));
        let (status, headers) = read_head(&mut line);
        let mut body = Vec::new();
        line.read_to_end(&mut body).expect("an end");
        let answer = Answer { status, headers, body };
        if let Some(length) = answer.header("content-length").filter(|_| method != "HEAD") {
            assert_eq!(length, answer.body.len().to_string());
        }
        answer
    }

    /// A request that an event stream answers; read up to behind its `retry:`.
    pub(crate) fn stream(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Feed {
        let mut line = BufReader::new(self.send(method, target, headers, body));
        let (status, headers) = read_head(&mut line);
        assert_eq!(status, 200);
        assert!(headers.contains(&("content-type".into(), "text/event-stream".into())));
        let mut feed = Feed { line, text: String::new(), ended: false };
        assert!(feed.block().starts_with("retry: "));
        feed
    }

    /// A WebSocket, or the status of the refusal.
    pub(crate) fn upgrade(&self, path: &str, headers: &[(&str, &str)]) -> Result<Line, u16> {
        let ours = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let mut line = BufReader::new(self.send("GET", path, &[headers, &ours].concat(), b""));
        let (status, headers) = read_head(&mut line);
        if status != 101 {
            return Err(status);
        }
        let accept = ("sec-websocket-accept".to_owned(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned());
        assert!(headers.contains(&accept), "RFC 6455 section 1.3");
        let value = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
        let (protocol, extensions) = (value("sec-websocket-protocol"), value("sec-websocket-extensions"));
        Ok(Line { line, protocol, extensions })
    }

    /// Someone in a room.
    pub(crate) fn join(&self, room: &str, name: &str) -> Member {
        let line = self.upgrade("/ws", &[]).expect("a WebSocket");
        let mut member = Member { line, members: Default::default(), seq: 0 };
        let welcome = member.answer();
        assert_eq!(welcome["type"], "welcome");
        member.tell(&json!({ "type": "join", "room": room, "name": name }));
        let joined = member.until("joined");
        member.seq = joined["seq"].as_u64().expect("a number");
        let list = joined["members"].as_array().expect("a list").iter();
        member.members = list
            .map(|member| (member["id"].as_u64().expect("an id"), member["name"].as_str().expect("a name").to_owned()))
            .collect();
        assert_eq!(member.members.get(&welcome["id"].as_u64().unwrap()).map(String::as_str), Some(name));
        member
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// What it answers.

pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| &**value)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("UTF-8")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// Status and header lines, names in lower case.
pub(crate) fn read_head(line: &mut BufReader<TcpStream>) -> (u16, Vec<(String, String)>) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(line.read_line(&mut head).expect("a head"), 0, "it ended inside a head: {head:?}");
    }
    let mut lines = head.lines();
    let status = lines.next().and_then(|first| first.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let fields = lines.filter_map(|line| line.split_once(':'));
    (status.expect("a status"), fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().into())).collect())
}

/// An event stream, in chunks.
pub(crate) struct Feed {
    pub(crate) line: BufReader<TcpStream>,
    text: String,
    ended: bool,
}

#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) topic: String,
    pub(crate) kind: String,
    pub(crate) data: String,
}

impl Event {
    /// Out of a block that has data, and is not one of the protocol's own.
    pub(crate) fn of(block: &str) -> Option<Self> {
        let all = |name: &str| {
            let lines = block.lines().filter_map(|line| line.split_once(": ").or(line.split_once(':')));
            lines.filter(|(field, _)| *field == name).map(|(_, value)| value).collect::<Vec<_>>()
        };
        let (kind, data) = (all("event").concat(), all("data"));
        let told = !data.is_empty() && !kind.starts_with("tautline.");
        told.then(|| Self { id: all("id").concat(), topic: all("topic").concat(), kind, data: data.join("\n") })
    }
}

impl Feed {
    pub(crate) fn more(&mut self) {
        let mut size = String::new();
        assert_ne!(self.line.read_line(&mut size).expect("a chunk"), 0, "it ended without its last chunk");
        let size = usize::from_str_radix(size.trim(), 16).expect("a size");
        let mut chunk = vec![0; size + 2];
        self.line.read_exact(&mut chunk).expect("a whole chunk");
        self.text += std::str::from_utf8(&chunk[..size]).expect("UTF-8");
        self.ended = size == 0;
    }

    /// The next block, without its blank line.
    pub(crate) fn block(&mut self) -> String {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return block;
            }
            assert!(!self.ended, "no more");
            self.more();
        }
    }

    /// The next event; the protocol's own are passed over.
    pub(crate) fn event(&mut self) -> Event {
        loop {
            if let Some(event) = Event::of(&self.block()) {
                return event;
            }
        }
    }

    /// The next position block, which ends an attach; and the blocks before it.
    pub(crate) fn position(&mut self) -> (String, Vec<String>) {
        let mut before = Vec::new();
        loop {
            let block = self.block();
            match block.strip_prefix("id: ").filter(|id| !id.contains('\n')) {
                Some(id) => return (id.to_owned(), before),
                None => before.push(block),
            }
        }
    }

    /// Everything up to its end, which must come in good order.
    pub(crate) fn rest(mut self) -> String {
        while !self.ended {
            self.more();
        }
        self.text
    }
}

/// A WebSocket, frame by frame.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) line: BufReader<TcpStream>,
    pub(crate) protocol: Option<String>,
    pub(crate) extensions: Option<String>,
}

impl Line {
    pub(crate) fn send(&mut self, opcode: u8, payload: &[u8]) {
        let mut frame = vec![0x80 | opcode];
        match payload.len() {
            len @ 0..=125 => frame.push(0x80 | len as u8),
            len @ 126..=65_535 => {
                frame.push(0x80 | 126);
                frame.extend((len as u16).to_be_bytes());
            }
            len => {
                frame.push(0x80 | 127);
                frame.extend((len as u64).to_be_bytes());
            }
        }
        let key = [7, 11, 13, 17];
        frame.extend(key);
        frame.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]));
        self.line.get_mut().write_all(&frame).expect("it reads");
    }

    /// Opcode and payload of the next frame, which must be a whole message.
    pub(crate) fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut bytes = |len| {
            let mut bytes = vec![0; len];
            self.line.read_exact(&mut bytes).expect("a frame");
            bytes
        };
        let head = bytes(2);
        assert_eq!((head[0] & 0xf0, head[1] & 0x80), (0x80, 0));
        let len = match head[1] {
            126 => bytes(2),
            127 => bytes(8),
            len => vec![len],
        };
        let len = len.into_iter().fold(0, |len, byte| len << 8 | usize::from(byte));
        (head[0] & 0xf, bytes(len))
    }
}

/// Someone in the chat.
pub(crate) struct Member {
    pub(crate) line: Line,
    /// Who was there, at number `seq`.
    pub(crate) members: BTreeMap<u64, String>,
    pub(crate) seq: u64,
}

impl Member {
    pub(crate) fn tell(&mut self, request: &Value) {
        self.line.send(1, request.to_string().as_bytes());
    }

    /// The next message in JSON. What was published is passed over.
    pub(crate) fn answer(&mut self) -> Value {
        loop {
            let text = self.text();
            if text.starts_with('{') {
                return serde_json::from_str(&text).expect("JSON");
            }
            assert!(Event::of(&text).is_some(), "{text}");
        }
    }

    /// What was published to the room's name next; messages in JSON are passed over.
    pub(crate) fn published(&mut self) -> Event {
        loop {
            if let Some(event) = Event::of(&self.text()) {
                return event;
            }
        }
    }

    fn text(&mut self) -> String {
        let (opcode, payload) = self.line.frame();
        assert_eq!(opcode, 1, "{payload:?}");
        String::from_utf8(payload).expect("UTF-8")
    }

    /// The next message of a type; others are passed over.
    pub(crate) fn until(&mut self, kind: &str) -> Value {
        self.until_any(&[kind])
    }

    pub(crate) fn until_any(&mut self, kinds: &[&str]) -> Value {
        loop {
            let answer = self.answer();
            if kinds.iter().any(|kind| answer["type"] == *kind) {
                return answer;
            }
        }
    }

    /// The code of its Close frame.
    pub(crate) fn until_close(&mut self) -> u16 {
        loop {
            let (opcode, payload) = self.line.frame();
            if opcode == 8 {
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
        }
    }
}
