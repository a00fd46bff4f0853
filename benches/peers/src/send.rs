//! Send: one binary message after another, from a borrowed payload, framed into an output buffer that is used again and again.
//!
//! # To enter
//!
//! Implement [`Sender`] and add one line to [`Payload::contestants`]:
//!
//! ```ignore
//! impl Sender for Output {
//!     const NAME: &'static str = "tautline";
//!     fn new(role: Role, capacity: usize) -> Self;
//!     fn send(&mut self, payload: &[u8]);
//!     fn clear(&mut self) -> usize;
//!     fn take(&mut self) -> Vec<u8>;
//! }
//! field.enter::<tautline_ws::Sender>();
//! ```
//!
//! # The rules
//!
//! - The payload is the caller's and stays so: its bytes are copied at least once, into one contiguous output. A peer
//!   that wants an owned payload pays for making it one; a peer that writes each frame to its stream gets a stream that
//!   gathers in memory, vectored writes included.
//! - The output is cleared when it holds 64 KiB, or after each message where one alone is as long as that.
//! - A client masks with a key of the peer's own making.

use std::hint::black_box;

use crate::cell::{Bar, Bench, Cell, Contestant, Reference, Scale, Standing, Work};
use crate::corpus::{Content, Random, frame_len, push_frame, size_name};
use crate::{floors, peers, tautline_ws};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Server,
    Client,
}

/// A sending half with its output buffer.
pub trait Sender: Sized {
    const NAME: &'static str;
    const STANDING: Standing = Standing::Counts;

    /// `capacity` is more than the output will ever hold before it is cleared.
    fn new(role: Role, capacity: usize) -> Self;

    /// Appends one binary message to the output.
    fn send(&mut self, payload: &[u8]);

    /// Empties the output as if all of it had been written to a socket, and returns how much it held.
    fn clear(&mut self) -> usize;

    /// Empties the output into a vector; only to check it, never timed.
    fn take(&mut self) -> Vec<u8>;
}

/// What is sent, and how often before the output is cleared.
pub struct Payload {
    bytes: Vec<u8>,
    role: Role,
    burst: usize,
    bursts: usize,
}

impl Payload {
    fn new(len: usize, role: Role, scale: Scale) -> Self {
        let burst = ((64 << 10) / len).max(1);
        let messages = match scale {
            Scale::Full => 8192,
            Scale::Small => 1024,
        };
        Payload {
            bytes: Content::Binary.payload(len, &mut Random::new(len as u64)),
            role,
            burst,
            bursts: if len < 64 << 10 { (messages / burst).max(1) } else { 4 },
        }
    }

    fn frame_len(&self) -> usize {
        frame_len(self.bytes.len(), self.role == Role::Client)
    }

    fn capacity(&self) -> usize {
        self.burst * (self.frame_len() + 16)
    }
}

impl Bench for Payload {
    fn operations(&self) -> u64 {
        (self.burst * self.bursts) as u64
    }

    fn bytes(&self) -> u64 {
        self.operations() * self.bytes.len() as u64
    }

    fn contestants<'b>(&'b self, wanted: &dyn Fn(&str) -> bool) -> Vec<Contestant<'b>> {
        let mut field = Field { payload: self, wanted, entered: Vec::new() };
        field.enter::<floors::Copy>();
        field.enter::<tautline_ws::Sender>();
        field.enter::<peers::nexus_web::Sender>();
        field.enter::<peers::embedded_websocket::Sender>();
        field.enter::<peers::tokio_websockets::Sender>();
        field.enter::<peers::wtx::Sender>();
        field.enter::<peers::fastwebsockets::Sender>();
        field.enter::<peers::tungstenite::Sender>();
        field.entered
    }
}

struct Field<'b, 'f> {
    payload: &'b Payload,
    wanted: &'f dyn Fn(&str) -> bool,
    entered: Vec<Contestant<'b>>,
}

impl Field<'_, '_> {
    fn enter<S: Sender + 'static>(&mut self) {
        if (self.wanted)(S::NAME) {
            let sender = S::new(self.payload.role, self.payload.capacity());
            self.entered.push(Contestant {
                name: S::NAME,
                standing: S::STANDING,
                work: Box::new(Sending { payload: self.payload, sender }),
            });
        }
    }
}

struct Sending<'b, S> {
    payload: &'b Payload,
    sender: S,
}

impl<S: Sender> Sending<'_, S> {
    /// A floor need not write headers.
    fn frame_len(&self) -> usize {
        match S::STANDING {
            Standing::Floor => self.payload.bytes.len(),
            _ => self.payload.frame_len(),
        }
    }
}

impl<S: Sender> Work for Sending<'_, S> {
    fn run(&mut self, passes: u64) -> Result<(), String> {
        let burst = self.payload.burst;
        for _ in 0..passes * self.payload.bursts as u64 {
            for _ in 0..burst {
                self.sender.send(black_box(&self.payload.bytes));
            }
            let sent = self.sender.clear();
            if sent != burst * self.frame_len() {
                return Err(format!("sent {sent} bytes, not {}", burst * self.frame_len()));
            }
        }
        Ok(())
    }

    fn verify(&mut self) -> Result<(), String> {
        for _ in 0..self.payload.burst {
            self.sender.send(&self.payload.bytes);
        }
        let sent = self.sender.take();
        if S::STANDING == Standing::Floor {
            return Ok(());
        }
        let frame_len = self.payload.frame_len();
        if sent.len() != frame_len * self.payload.burst {
            return Err(format!("sent {} bytes, not {}", sent.len(), frame_len * self.payload.burst));
        }
        for frame in sent.chunks(frame_len) {
            let masked = self.payload.role == Role::Client;
            let header = frame_len - self.payload.bytes.len();
            let key = masked.then(|| frame[header - 4..header].try_into().expect("four bytes"));
            let mut wanted = Vec::with_capacity(frame_len);
            push_frame(&mut wanted, false, &self.payload.bytes, key);
            if frame != wanted {
                return Err("sent another frame than it should".into());
            }
        }
        Ok(())
    }
}

pub fn cells() -> Vec<Cell> {
    let server = [16, 125, 1 << 10, 16 << 10, 1 << 20].map(|size| (size, Role::Server));
    let client = [125, 16 << 10].map(|size| (size, Role::Client));
    let cell = |(size, role)| {
        let size_name = size_name(size);
        let column = match role {
            Role::Server => size_name,
            Role::Client => format!("client-{size_name}"),
        };
        Cell {
            name: format!("send-{column}"),
            table: "WebSocket send",
            column,
            bar: (size == 16).then_some(Bar { reference: Reference::FastestPeer, max: 1.00 }),
            open: Box::new(move |scale| Box::new(Payload::new(size, role, scale))),
        }
    };
    server.into_iter().chain(client).map(cell).collect()
}
