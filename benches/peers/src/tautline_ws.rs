//! tautline's WebSocket: one read buffer, one pool and one output, as a thread of a server has them.

use std::sync::Arc;

use tautline::ws::{Config, Connection, Event, Limits, apply_mask};
use tautline::{Buffers, Input, Instant, Output};

use crate::cell::Refused;
use crate::feed::Feed;
use crate::mask::Mask;
use crate::recv::{Receive, Sink};
use crate::send::{Role, Sender as Send};

const NAME: &str = "tautline";

fn config() -> Arc<Config> {
    // The largest cell is a message of exactly the default limit.
    let limits = Limits { message: 2 << 20, frame: 2 << 20, ..Limits::DEFAULT };
    Arc::new(Config { limits, ..Config::DEFAULT }.check().expect("the limits agree"))
}

pub struct Receiver<'w> {
    feed: Feed<'w>,
    buffer: Vec<u8>,
    buffers: Buffers,
    out: Output,
    connection: Connection,
}

impl<'w> Receive<'w> for Receiver<'w> {
    const NAME: &'static str = NAME;

    fn new(feed: Feed<'w>) -> Self {
        Receiver {
            buffer: vec![0; feed.step()],
            feed,
            buffers: Buffers::new(),
            out: Output::new(),
            connection: Connection::server(config(), [7; 16], Instant::ORIGIN),
        }
    }

    fn receive(&mut self, sink: &mut impl Sink) -> Result<(), Refused> {
        loop {
            // Inside a long frame bytes are read to where they will stay (a socket's reader would read both in one `readv`).
            let read = if let Some(spare) = self.connection.spare() {
                let Some(read) = self.feed.read(spare) else { return Ok(()) };
                self.connection.filled(read, &mut self.out, Instant::ORIGIN).map_err(|_| Refused)?;
                0
            } else {
                let Some(read) = self.feed.read(&mut self.buffer) else { return Ok(()) };
                read
            };
            let mut input = Input::with_buffers(&mut self.buffer[..read], &mut self.buffers);
            while let Some(event) =
                self.connection.next_event(&mut input, &mut self.out, Instant::ORIGIN).map_err(|_| Refused)?
            {
                match event {
                    Event::Text(text) => sink.text(text),
                    Event::Binary(payload) => sink.binary(payload),
                    _ => {}
                }
            }
        }
    }
}

pub struct Sender {
    connection: Connection,
    out: Output,
}

impl Send for Sender {
    const NAME: &'static str = NAME;

    fn new(role: Role, capacity: usize) -> Self {
        let config = config();
        let connection = match role {
            Role::Server => Connection::server(config, [7; 16], Instant::ORIGIN),
            Role::Client => Connection::client(config, [7; 16], Instant::ORIGIN),
        };
        Sender { connection, out: Output::with_limit(capacity) }
    }

    #[inline]
    fn send(&mut self, payload: &[u8]) {
        self.connection.send_binary(payload, &mut self.out).expect("the output has room");
    }

    fn clear(&mut self) -> usize {
        let len = self.out.len();
        self.out.clear();
        len
    }

    fn take(&mut self) -> Vec<u8> {
        let bytes = self.out.chunks().flatten().copied().collect();
        self.out.clear();
        bytes
    }
}

pub struct Masking;

impl Mask for Masking {
    const NAME: &'static str = NAME;

    #[inline]
    fn mask(payload: &mut [u8], key: [u8; 4]) {
        apply_mask(payload, key, 0);
    }
}
