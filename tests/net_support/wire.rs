//! A client made by hand: requests as text, frames as bytes.

use super::WAIT;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;
/// The bit of a compressed message (RFC 7692 section 6).
pub const RSV1: u8 = 0x40;

/// A masking key. Unpredictable it need not be here.
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub fin: bool,
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).unwrap()
    }

    pub fn close_code(&self) -> u16 {
        assert_eq!(self.opcode, CLOSE, "{self:?}");
        u16::from_be_bytes([self.payload[0], self.payload[1]])
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// What reading came to.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The other side ended in good order.
    Eof,
    Reset,
}

/// One connection of a client, with what it read ahead.
pub struct Client {
    pub stream: TcpStream,
    /// It reads an event stream.
    pub chunked: bool,
    /// It agreed on permessage-deflate, and says of a compressed frame that it is one by its opcode: [`RSV1`].
    pub deflates: bool,
    read: Vec<u8>,
    at: usize,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect_timeout(&address, WAIT).unwrap())
    }

    pub fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(WAIT)).unwrap();
        stream.set_write_timeout(Some(WAIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, chunked: false, deflates: false, read: Vec::new(), at: 0 }
    }

    /// With a receive buffer of so many bytes, so that the other side blocks early.
    pub fn connect_small(address: SocketAddr, receive: usize) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(receive).unwrap();
        socket.connect(&address.into()).unwrap();
        Self::over(socket.into())
    }

    /// Opens a WebSocket.
    pub fn websocket(address: SocketAddr, target: &str) -> Self {
        Self::connect(address).upgrade(target)
    }

    pub fn upgrade(mut self, target: &str) -> Self {
        self.write(upgrade_request(target).as_bytes());
        let response = self.response();
        assert_eq!(response.status, 101, "{response:?}");
        assert!(response.head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{response:?}");
        self
    }

    /// Opens a WebSocket with an offer of extensions.
    pub fn upgrade_with(mut self, target: &str, offer: &str) -> (Self, String) {
        let request = upgrade_request(target);
        let request = request.trim_end();
        self.write(format!("{request}\r\nSec-WebSocket-Extensions: {offer}\r\n\r\n").as_bytes());
        let response = self.response();
        assert_eq!(response.status, 101, "{response:?}");
        let answer = field(&response.head, "Sec-WebSocket-Extensions").unwrap_or_default().to_owned();
        self.deflates = !answer.is_empty();
        (self, answer)
    }

    /// Opens an event stream.
    pub fn stream(address: SocketAddr, target: &str) -> Self {
        Self::connect(address).subscribe(target)
    }

    pub fn subscribe(mut self, target: &str) -> Self {
        self.write(format!("GET {target} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n").as_bytes());
        let head = self.head();
        assert!(head.starts_with("HTTP/1.1 200") && head.to_lowercase().contains("chunked"), "{head}");
        self.chunked = true;
        self
    }

    pub fn get(&mut self, target: &str) {
        self.write(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.write(&frame(0x80 | opcode, payload));
    }

    pub fn send_text(&mut self, text: &str) {
        self.send(TEXT, text.as_bytes());
    }

    pub fn send_close(&mut self, code: u16) {
        self.send(CLOSE, &code.to_be_bytes());
    }

    /// Ends this side.
    pub fn finish(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Ends the connection by a reset.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }

    /// Reads more; how it ended where it did.
    fn fill(&mut self) -> Result<(), End> {
        if self.at > (1 << 20) {
            self.read.drain(..self.at);
            self.at = 0;
        }
        let mut buffer = [0; 64 << 10];
        match self.stream.read(&mut buffer) {
            Ok(0) => Err(End::Eof),
            Ok(n) => {
                self.read.extend_from_slice(&buffer[..n]);
                Ok(())
            }
            Err(e) if e.kind() == ErrorKind::ConnectionReset => Err(End::Reset),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => panic!("nothing came"),
            Err(e) => panic!("{e}"),
        }
    }

    fn need(&mut self, n: usize) -> Result<(), End> {
        while self.read.len() - self.at < n {
            self.fill()?;
        }
        Ok(())
    }

    /// A frame of the server's, or how the connection ended before one.
    pub fn try_frame(&mut self) -> Result<Frame, End> {
        self.need(2)?;
        let [first, second] = [self.read[self.at], self.read[self.at + 1]];
        assert_eq!(second & 0x80, 0, "a server masks nothing");
        let meaningful = if self.deflates { RSV1 } else { 0 };
        assert_eq!(first & 0x70 & !meaningful, 0, "no extension was agreed on");
        let (head, len) = match second & 0x7f {
            126 => {
                self.need(4)?;
                let bytes = &self.read[self.at + 2..self.at + 4];
                (4, usize::from(u16::from_be_bytes(bytes.try_into().unwrap())))
            }
            127 => {
                self.need(10)?;
                let bytes = &self.read[self.at + 2..self.at + 10];
                (10, u64::from_be_bytes(bytes.try_into().unwrap()) as usize)
            }
            short => (2, usize::from(short)),
        };
        self.need(head + len)?;
        let from = self.at + head;
        let payload = self.read[from..from + len].to_vec();
        self.at = from + len;
        Ok(Frame { fin: first & 0x80 != 0, opcode: first & (15 | meaningful), payload })
    }

    #[track_caller]
    pub fn frame(&mut self) -> Frame {
        self.try_frame().expect("a frame")
    }

    #[track_caller]
    pub fn expect_text(&mut self, text: &str) {
        let frame = self.frame();
        assert_eq!((frame.opcode, frame.text()), (TEXT, text));
    }

    /// The Close frame's code, past data and pings.
    #[track_caller]
    pub fn close_frame(&mut self) -> u16 {
        loop {
            let frame = self.frame();
            if frame.opcode == CLOSE {
                return frame.close_code();
            }
        }
    }

    /// Everything up to the end.
    pub fn rest(&mut self) -> (Vec<u8>, End) {
        let end = loop {
            if let Err(end) = self.fill() {
                break end;
            }
        };
        (self.read.split_off(std::mem::take(&mut self.at)), end)
    }

    #[track_caller]
    pub fn expect_eof(&mut self) {
        let (rest, end) = self.rest();
        assert_eq!((rest.as_slice(), end), (&b""[..], End::Eof), "{}", String::from_utf8_lossy(&rest));
    }

    /// Everything up to and with these bytes.
    pub fn until(&mut self, mark: &[u8]) -> Result<Vec<u8>, End> {
        let mut searched = self.at;
        loop {
            let found = self.read[searched..].windows(mark.len()).position(|window| window == mark);
            if let Some(found) = found {
                let end = searched + found + mark.len();
                let bytes = self.read[self.at..end].to_vec();
                self.at = end;
                return Ok(bytes);
            }
            let (before, from) = (self.at, self.read.len().saturating_sub(mark.len()).max(self.at));
            self.fill()?;
            // Reading may have moved what is kept.
            searched = from - (before - self.at);
        }
    }

    #[track_caller]
    pub fn head(&mut self) -> String {
        String::from_utf8(self.until(b"\r\n\r\n").expect("a head")).unwrap()
    }

    /// A response with a Content-Length, or none and no body.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        let head = self.head();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().unwrap())
        });
        let length = length.unwrap_or(0);
        self.need(length).expect("the body");
        let body = self.read[self.at..self.at + length].to_vec();
        self.at += length;
        Response { status, head, body }
    }

    /// The data of the next chunk; empty at the stream's end.
    pub fn try_chunk(&mut self) -> Result<Vec<u8>, End> {
        let size = self.until(b"\r\n")?;
        let size = std::str::from_utf8(&size[..size.len() - 2]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("chunk size {size:?}"));
        self.need(size + 2)?;
        let data = self.read[self.at..self.at + size].to_vec();
        assert_eq!(&self.read[self.at + size..self.at + size + 2], b"\r\n");
        self.at += size + 2;
        Ok(data)
    }

    /// The next event block of a stream, which must be one chunk; comments, `retry:` and what has no data are passed over.
    #[track_caller]
    pub fn event(&mut self) -> String {
        loop {
            let chunk = String::from_utf8(self.try_chunk().expect("an event")).unwrap();
            assert!(!chunk.is_empty(), "the stream ended");
            if chunk.lines().any(|line| line.starts_with("data:")) {
                return chunk;
            }
        }
    }
}

pub fn upgrade_request(target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// A masked frame.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | len as u8),
        len @ 126..=65_535 => {
            bytes.push(0x80 | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(KEY);
    bytes.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ KEY[i % 4]));
    bytes
}

/// The value of a field of an event block.
pub fn field<'a>(block: &'a str, name: &str) -> Option<&'a str> {
    block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}
