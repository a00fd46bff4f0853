//! tungstenite 0.30: blocking, over any `Read + Write`.

use std::io;

use bytes::Bytes;
use tungstenite::handshake::server::{create_response, write_response};
use tungstenite::protocol::{Role as TungsteniteRole, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket, accept_with_config};

use crate::cell::Refused;
use crate::feed::{Feed, Memory};
use crate::recv::{Receive, Sink};
use crate::send::{Role, Sender as Send};
use crate::upgrade::Upgrade;

use super::parse_request;

const NAME: &str = "tungstenite";

pub struct Receiver<'w> {
    socket: WebSocket<Memory<'w>>,
}

impl<'w> Receive<'w> for Receiver<'w> {
    const NAME: &'static str = NAME;

    fn new(feed: Feed<'w>) -> Self {
        // It zero-fills what is free of its buffer before each read, so the best size is that of the reads: 64 KiB in bulk,
        // and little where a frame comes alone. The default is 128 KiB.
        let config = WebSocketConfig::default().read_buffer_size(feed.step().clamp(256, 64 << 10));
        Receiver { socket: WebSocket::from_raw_socket(Memory::new(feed), TungsteniteRole::Server, Some(config)) }
    }

    fn receive(&mut self, sink: &mut impl Sink) -> Result<(), Refused> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => sink.text(&text),
                Ok(Message::Binary(payload)) => sink.binary(&payload),
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(_) => return Err(Refused),
            }
        }
    }
}

/// Gathers in tungstenite's own write buffer; what it flushes is taken as it is, without another copy.
pub struct Sender {
    socket: WebSocket<Taker>,
}

/// A stream that takes all it is given at once, and keeps it only to be checked.
struct Taker {
    taken: usize,
    kept: Option<Vec<u8>>,
}

impl Send for Sender {
    const NAME: &'static str = NAME;

    fn new(role: Role, capacity: usize) -> Self {
        let role = match role {
            Role::Server => TungsteniteRole::Server,
            Role::Client => TungsteniteRole::Client,
        };
        let config = WebSocketConfig::default().write_buffer_size(capacity).read_buffer_size(256);
        let taker = Taker { taken: 0, kept: None };
        Sender { socket: WebSocket::from_raw_socket(taker, role, Some(config)) }
    }

    #[inline]
    fn send(&mut self, payload: &[u8]) {
        // A message owns its payload, so a borrowed one is copied into it.
        self.socket.write(Message::Binary(Bytes::copy_from_slice(payload))).expect("an open connection");
    }

    fn clear(&mut self) -> usize {
        self.socket.flush().expect("an open connection");
        std::mem::take(&mut self.socket.get_mut().taken)
    }

    fn take(&mut self) -> Vec<u8> {
        self.socket.get_mut().kept = Some(Vec::new());
        self.clear();
        self.socket.get_mut().kept.take().expect("put there just now")
    }
}

impl io::Read for Taker {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl io::Write for Taker {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.taken += bytes.len();
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Its whole handshake, up to an open connection, which gets the smallest sensible buffer.
pub struct Handshake {
    answer: Vec<u8>,
}

impl Upgrade for Handshake {
    const NAME: &'static str = NAME;

    fn new() -> Self {
        Handshake { answer: Vec::with_capacity(512) }
    }

    fn upgrade(&mut self, request: &mut [u8]) -> Result<&[u8], Refused> {
        self.answer.clear();
        let mut socket = Memory { feed: Feed::new(request, request.len()), out: std::mem::take(&mut self.answer) };
        let config = WebSocketConfig::default().read_buffer_size(1 << 10);
        let accepted = accept_with_config(&mut socket, Some(config)).is_ok();
        self.answer = socket.out;
        if accepted { Ok(&self.answer) } else { Err(Refused) }
    }
}

/// Only its check and its answer, around a head that was parsed elsewhere, as a server on hyper uses it.
pub struct Response {
    answer: Vec<u8>,
}

impl Upgrade for Response {
    const NAME: &'static str = "tungstenite (create_response)";

    fn new() -> Self {
        Response { answer: Vec::with_capacity(512) }
    }

    fn upgrade(&mut self, request: &mut [u8]) -> Result<&[u8], Refused> {
        let response = create_response(&parse_request(request)?).map_err(|_| Refused)?;
        self.answer.clear();
        write_response(&mut self.answer, &response).map_err(|_| Refused)?;
        Ok(&self.answer)
    }
}
