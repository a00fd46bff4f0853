//! Upgrade: a browser's opening request, checked and answered into a buffer that is used again.
//!
//! # To enter
//!
//! Implement [`Upgrade`] and add one line to [`Request::contestants`]:
//!
//! ```ignore
//! impl Upgrade for Handshake {
//!     const NAME: &'static str = "tautline";
//!     fn new() -> Self;
//!     fn upgrade(&mut self, request: &mut [u8]) -> Result<&[u8], Refused>;
//! }
//! field.enter::<tautline_http::Handshake>();
//! ```
//!
//! # The rules
//!
//! - The request lies whole in memory, as after one read. A contestant may change it; it gets a fresh copy each time, and
//!   that copy is in every row. Peers that read from a stream copy it once more, some 10 ns.
//! - All contestants but floors check method, version, `Upgrade`, `Connection`, the version 13 and the key as far as
//!   their library does. The compression that Chrome offers is declined.
//! - Per-connection state is made anew for each request, as in a server; buffers a library lets its caller keep are kept.

use std::hint::black_box;

use crate::cell::{Bar, Bench, Cell, Contestant, Reference, Refused, Scale, Standing, Work};
use crate::{floors, peers, tautline_http};

/// What Chrome sends: 13 header lines, 589 bytes.
const CHROME: &str = "GET /chat HTTP/1.1\r\n\
    Host: chat.example.com\r\n\
    Connection: Upgrade\r\n\
    Pragma: no-cache\r\n\
    Cache-Control: no-cache\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36\r\n\
    Upgrade: websocket\r\n\
    Origin: https://chat.example.com\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en-US;q=0.9,en;q=0.8\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
    \r\n";

/// The answer to that key, from RFC 6455 section 1.3.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

pub trait Upgrade {
    const NAME: &'static str;
    const STANDING: Standing = Standing::Counts;

    fn new() -> Self;

    /// Checks the request and returns the whole answer.
    fn upgrade(&mut self, request: &mut [u8]) -> Result<&[u8], Refused>;
}

pub struct Request;

impl Request {
    const REPEATS: u64 = 100;
}

impl Bench for Request {
    fn operations(&self) -> u64 {
        Self::REPEATS
    }

    fn bytes(&self) -> u64 {
        0
    }

    fn contestants<'b>(&'b self, wanted: &dyn Fn(&str) -> bool) -> Vec<Contestant<'b>> {
        let mut field = Field { wanted, entered: Vec::new() };
        field.enter::<floors::HttparseSha1Base64>();
        field.enter::<tautline_http::Handshake>();
        field.enter::<peers::nexus_web::Handshake>();
        field.enter::<peers::embedded_websocket::Handshake>();
        field.enter::<peers::tokio_websockets::Handshake>();
        field.enter::<peers::wtx::Handshake>();
        field.enter::<peers::fastwebsockets::Handshake>();
        field.enter::<peers::tungstenite::Handshake>();
        field.enter::<peers::tungstenite::Response>();
        field.entered
    }
}

struct Field<'b, 'f> {
    wanted: &'f dyn Fn(&str) -> bool,
    entered: Vec<Contestant<'b>>,
}

impl Field<'_, '_> {
    fn enter<U: Upgrade + 'static>(&mut self) {
        if (self.wanted)(U::NAME) {
            self.entered.push(Contestant {
                name: U::NAME,
                standing: U::STANDING,
                work: Box::new(Upgrading { upgrade: U::new(), request: CHROME.into(), answer: 0 }),
            });
        }
    }
}

struct Upgrading<U> {
    upgrade: U,
    request: Vec<u8>,
    /// Length of the answer, once it has been verified.
    answer: usize,
}

impl<U: Upgrade> Work for Upgrading<U> {
    fn run(&mut self, passes: u64) -> Result<(), String> {
        if self.answer == 0 {
            self.verify()?;
        }
        for _ in 0..passes * Request::REPEATS {
            self.request.copy_from_slice(CHROME.as_bytes());
            let answer = self.upgrade.upgrade(black_box(&mut self.request));
            if black_box(answer).map_or(0, <[u8]>::len) != self.answer {
                return Err("answered otherwise than before".into());
            }
        }
        Ok(())
    }

    fn verify(&mut self) -> Result<(), String> {
        self.request.copy_from_slice(CHROME.as_bytes());
        let answer = self.upgrade.upgrade(&mut self.request).map_err(|_| "refused a good request")?;
        let text = std::str::from_utf8(answer).map_err(|error| error.to_string())?;
        let lines: Vec<String> = text.split("\r\n").map(str::to_ascii_lowercase).collect();
        let accept = format!("sec-websocket-accept: {ACCEPT}");
        let has = |line: &str| lines.iter().any(|found| found == line);
        if !lines[0].starts_with("http/1.1 101")
            || !text.ends_with("\r\n\r\n")
            || !has("upgrade: websocket")
            || !has("connection: upgrade")
            || !has(&accept.to_ascii_lowercase())
            || !text.contains(ACCEPT)
        {
            return Err(format!("a wrong answer: {text:?}"));
        }
        self.answer = answer.len();
        if U::STANDING == Standing::Counts {
            let mut spoilt = CHROME.replace("Sec-WebSocket-Key", "Sec-WebSocket-Kex").into_bytes();
            if self.upgrade.upgrade(&mut spoilt).is_ok() {
                return Err("answered a request without a key".into());
            }
        }
        Ok(())
    }
}

pub fn cells() -> Vec<Cell> {
    vec![Cell {
        name: "upgrade-chrome".into(),
        table: "Upgrade of a browser's request",
        column: "chrome".into(),
        bar: Some(Bar { reference: Reference::Named(floors::HTTPARSE_SHA1_BASE64), max: 1.15 }),
        open: Box::new(|_: Scale| Box::new(Request)),
    }]
}
