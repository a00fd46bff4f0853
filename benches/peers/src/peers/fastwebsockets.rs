//! fastwebsockets 0.10: async over any tokio stream; its handshake is hyper's.

use fastwebsockets::{FragmentCollector, Frame, OpCode, Payload, Role as FastRole, WebSocket, unmask, upgrade};

use crate::cell::Refused;
use crate::feed::{Feed, Memory, poll_once};
use crate::mask::Mask;
use crate::recv::{Receive, Sink};
use crate::send::{Role, Sender as Send};
use crate::upgrade::Upgrade;

use super::parse_request;

const NAME: &str = "fastwebsockets";

pub struct Receiver<'w> {
    /// Puts fragments together, as the other contestants do: a bare `WebSocket` hands out frames.
    socket: FragmentCollector<Memory<'w>>,
}

impl<'w> Receive<'w> for Receiver<'w> {
    const NAME: &'static str = NAME;

    fn new(feed: Feed<'w>) -> Self {
        // Its read buffer begins at 8 KiB and cannot be set.
        let socket = WebSocket::after_handshake(Memory::new(feed), FastRole::Server);
        Receiver { socket: FragmentCollector::new(socket) }
    }

    fn receive(&mut self, sink: &mut impl Sink) -> Result<(), Refused> {
        let received: Option<Result<(), Refused>> = poll_once(async {
            loop {
                let frame = self.socket.read_frame().await.map_err(|_| Refused)?;
                match frame.opcode {
                    // SAFETY: "Text frames payload is guaranteed to be valid UTF-8", says `read_frame`, and it has
                    // just run simdutf8 over this one. It hands out bytes all the same; a second check would be unfair.
                    OpCode::Text => sink.text(unsafe { std::str::from_utf8_unchecked(&frame.payload) }),
                    OpCode::Binary => sink.binary(&frame.payload),
                    _ => {}
                }
            }
        });
        received.unwrap_or(Ok(()))
    }
}

/// Its frames, without its socket: `WebSocket::write_frame` does the same and then copies once more, or writes two
/// slices, into a stream; this is the part of it that can write into one output, and the cheaper one.
pub struct Sender {
    role: Role,
    out: Vec<u8>,
}

impl Send for Sender {
    const NAME: &'static str = NAME;

    fn new(role: Role, capacity: usize) -> Self {
        Sender { role, out: Vec::with_capacity(capacity) }
    }

    #[inline]
    fn send(&mut self, payload: &[u8]) {
        let mut frame = Frame::binary(Payload::Borrowed(payload));
        if self.role == Role::Client {
            // Makes the payload an owned one first.
            frame.mask();
        }
        let mut head = [0; 16];
        let len = frame.fmt_head(&mut head);
        self.out.extend_from_slice(&head[..len]);
        self.out.extend_from_slice(&frame.payload);
    }

    fn clear(&mut self) -> usize {
        let len = self.out.len();
        self.out.clear();
        len
    }

    fn take(&mut self) -> Vec<u8> {
        self.out.split_off(0)
    }
}

pub struct Masking;

impl Mask for Masking {
    const NAME: &'static str = NAME;

    #[inline]
    fn mask(payload: &mut [u8], key: [u8; 4]) {
        unmask(payload, key);
    }
}

/// `upgrade` takes a request that hyper has parsed. Here httparse parses it into the same type, as hyper does, and the
/// answer's head is written by hand: hyper's connection and its tasks are left out, in the peer's favour.
pub struct Handshake {
    answer: Vec<u8>,
}

impl Upgrade for Handshake {
    const NAME: &'static str = NAME;

    fn new() -> Self {
        Handshake { answer: Vec::with_capacity(512) }
    }

    fn upgrade(&mut self, request: &mut [u8]) -> Result<&[u8], Refused> {
        let request = parse_request(request)?;
        if !upgrade::is_upgrade_request(&request) {
            return Err(Refused);
        }
        let (response, _socket) = upgrade::upgrade(request).map_err(|_| Refused)?;
        self.answer.clear();
        self.answer.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\n");
        for (name, value) in response.headers() {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                self.answer.extend_from_slice(part);
            }
        }
        self.answer.extend_from_slice(b"\r\n");
        Ok(&self.answer)
    }
}
