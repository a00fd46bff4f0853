//! What the load says and expects, byte by byte; written without tautline, which it judges.

use crate::cells::{PUBLICATION, Transport};
use crate::random::Random;

/// What a server does with a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Sends back the client's own bytes, mask and all, and knows one key's answer.
    Bare,
    WebSocket,
}

/// No zero byte: a zero would let a server skip the work.
const MASK: [u8; 4] = [0x9d, 0x37, 0xe1, 0x5b];

/// The bit of a message that is compressed (RFC 7692, section 6).
pub const RSV1: u8 = 0x40;

/// A text message in one frame.
pub const TEXT: u8 = 0x81;

/// The key of RFC 6455, section 1.3, and its answer.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A browser's request, about 450 bytes.
pub fn upgrade_request(port: u16) -> Vec<u8> {
    format!(
        "GET /echo HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36\r\n\
         Upgrade: websocket\r\nOrigin: http://127.0.0.1:{port}\r\nSec-WebSocket-Version: 13\r\n\
         Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9\r\n\
         Cookie: session=5f2b8c1e9a7d4036\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
    .into_bytes()
}

/// The same with an offer of permessage-deflate: all of RFC 7692's defaults, so context takeover both ways.
pub fn deflate_request(port: u16) -> Vec<u8> {
    let mut request = upgrade_request(port);
    request.truncate(request.len() - 2);
    request.extend_from_slice(b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n");
    request
}

pub fn events_request(port: u16) -> Vec<u8> {
    format!(
        "GET /events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/event-stream\r\nCache-Control: no-cache\r\n\r\n"
    )
    .into_bytes()
}

pub fn post(port: u16, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /broadcast HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Where the head ends that `bytes` begin with, behind its empty line.
pub fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

/// The value of a field of an ASCII head.
pub fn field<'h>(head: &'h [u8], name: &str) -> Option<&'h str> {
    let lines = str::from_utf8(head).ok()?.split("\r\n").skip(1);
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

pub fn check_upgraded(head: &[u8]) -> Result<(), String> {
    if head.starts_with(b"HTTP/1.1 101 ") && field(head, "sec-websocket-accept") == Some(ACCEPT) {
        Ok(())
    } else {
        Err(format!("not upgraded: {}", head.escape_ascii()))
    }
}

/// The offer of [`deflate_request`] was accepted, and both sides keep their context.
pub fn check_deflating(head: &[u8]) -> Result<(), String> {
    check_upgraded(head)?;
    let agreed = field(head, "sec-websocket-extensions").unwrap_or_default();
    if agreed.starts_with("permessage-deflate") && !agreed.contains("no_context_takeover") {
        Ok(())
    } else {
        Err(format!("no permessage-deflate with context takeover: {}", head.escape_ascii()))
    }
}

pub fn check_streaming(head: &[u8]) -> Result<(), String> {
    let stream = field(head, "content-type").is_some_and(|kind| kind.starts_with("text/event-stream"));
    let chunked = field(head, "transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    if head.starts_with(b"HTTP/1.1 200 ") && stream && chunked {
        Ok(())
    } else {
        Err(format!("no event stream in chunks: {}", head.escape_ascii()))
    }
}

/// Letters and digits, other ones for each seed.
pub fn payload(size: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    (0..size).map(|_| b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[random.below(64)]).collect()
}

/// The data that is published, the same each time, since `bare` is given what it sends.
pub fn publication() -> Vec<u8> {
    payload(PUBLICATION, u64::MAX)
}

/// A client's text message in one frame.
pub fn message(payload: &[u8]) -> Vec<u8> {
    masked(header(payload.len(), 0x80), payload)
}

/// The same for a payload that is compressed.
pub fn deflated_message(payload: &[u8]) -> Vec<u8> {
    let mut header = header(payload.len(), 0x80);
    header[0] |= RSV1;
    masked(header, payload)
}

fn masked(mut frame: Vec<u8>, payload: &[u8]) -> Vec<u8> {
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// What comes back for it.
pub fn reply(payload: &[u8], dialect: Dialect) -> Vec<u8> {
    match dialect {
        Dialect::Bare => message(payload),
        Dialect::WebSocket => [&header(payload.len(), 0), payload].concat(),
    }
}

/// What each subscriber gets for a publication, whatever the server.
pub fn delivery(transport: Transport, data: &[u8]) -> Vec<u8> {
    match transport {
        Transport::WebSocket => reply(data, Dialect::WebSocket),
        Transport::EventStream => {
            let block = [b"data: ", data, b"\n\n"].concat();
            [format!("{:x}\r\n", block.len()).as_bytes(), &block, b"\r\n"].concat()
        }
    }
}

fn header(length: usize, mask_bit: u8) -> Vec<u8> {
    match length {
        0..126 => vec![TEXT, mask_bit | length as u8],
        126..0x1_0000 => [&[TEXT, mask_bit | 126][..], &(length as u16).to_be_bytes()].concat(),
        _ => [&[TEXT, mask_bit | 127][..], &(length as u64).to_be_bytes()].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_those_of_rfc_6455() {
        assert_eq!(reply(b"Hello", Dialect::WebSocket), b"\x81\x05Hello");
        let masked = message(&[b'x'; 300]);
        assert_eq!(masked[..8], [0x81, 0xfe, 0x01, 0x2c, MASK[0], MASK[1], MASK[2], MASK[3]]);
        assert_eq!((masked[8] ^ MASK[0], masked[13] ^ MASK[1], masked.len()), (b'x', b'x', 308));
        assert_eq!(reply(&[0; 0x1_0000], Dialect::WebSocket)[..10], [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn deliveries_are_what_the_bar_names() {
        let data = publication();
        let frame = delivery(Transport::WebSocket, &data);
        assert_eq!((&frame[..2], &frame[2..]), (&b"\x81\x40"[..], &data[..]));
        let chunk = delivery(Transport::EventStream, &data);
        assert_eq!(chunk, [b"48\r\ndata: ", &data[..], b"\n\n\r\n"].concat());
    }

    #[test]
    fn requests_are_of_a_browsers_size() {
        let length = upgrade_request(20_000).len();
        assert!((440..470).contains(&length), "{length}");
    }
}
