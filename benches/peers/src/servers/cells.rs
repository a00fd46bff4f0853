//! The loads, and the bar for each as data beside it.

use crate::contestants::{FLOOR, OURS};

#[derive(Clone)]
pub struct Cell {
    /// Unique, such as `echo-64x32-20B`: connections, messages in flight on each, payload.
    pub name: String,
    pub work: Work,
    /// tautline may cost at most so many times what the [reference](Work::reference) costs; where that is tautline itself, each other
    /// server may do at most so many times as many operations per CPU second.
    pub bar: f64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Work {
    Echo(Echo),
    Deflate(Deflate),
    FanOut(FanOut),
    /// Opening handshakes, a fresh connection each.
    Handshakes,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Echo {
    pub connections: usize,
    /// Messages in flight per connection.
    pub depth: usize,
    /// Payload bytes.
    pub size: usize,
}

/// Echo of [JSON](crate::json) by permessage-deflate with context takeover both ways.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Deflate {
    pub connections: usize,
    /// Messages in flight per connection.
    pub depth: usize,
    /// zlib's level, of the server.
    pub level: u8,
}

/// One publication at a time: the next leaves when all subscribers have the last.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FanOut {
    pub transport: Transport,
    pub subscribers: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    WebSocket,
    EventStream,
}

/// Bytes of data in one publication.
pub const PUBLICATION: usize = 64;

pub fn all() -> Vec<Cell> {
    use Transport::{EventStream, WebSocket};
    vec![
        echo(64, 1, 20, 1.10),
        echo(64, 1, 512, 1.10),
        echo(1000, 1, 20, 1.10),
        echo(1000, 1, 512, 1.10),
        echo(64, 32, 20, 1.08),
        echo(64, 32, 512, 1.12),
        echo(1000, 32, 20, 1.08),
        echo(64, 1, 16 * 1024, 1.15),
        deflate(64, 1, 1),
        deflate(64, 32, 1),
        deflate(64, 1, 6),
        deflate(64, 32, 6),
        fan_out(WebSocket, 1000, 1.08),
        fan_out(WebSocket, 10_000, 1.08),
        fan_out(EventStream, 1000, 1.08),
        fan_out(EventStream, 10_000, 1.08),
        handshakes(1.05),
    ]
}

/// What each server has to get right, on as few connections as show it.
pub fn tiny() -> Vec<Cell> {
    vec![
        echo(3, 1, 20, 1.10),
        echo(3, 32, 512, 1.12),
        echo(2, 1, 16 * 1024, 1.15),
        deflate(2, 1, 1),
        deflate(3, 32, 6),
        fan_out(Transport::WebSocket, 20, 1.08),
        fan_out(Transport::EventStream, 20, 1.08),
        handshakes(1.05),
    ]
}

fn echo(connections: usize, depth: usize, size: usize, bar: f64) -> Cell {
    let payload = if size >= 1024 { format!("{}KiB", size / 1024) } else { format!("{size}B") };
    Cell {
        name: format!("echo-{connections}x{depth}-{payload}"),
        work: Work::Echo(Echo { connections, depth, size }),
        bar,
    }
}

fn deflate(connections: usize, depth: usize, level: u8) -> Cell {
    Cell {
        name: format!("deflate-{connections}x{depth}-level{level}"),
        work: Work::Deflate(Deflate { connections, depth, level }),
        bar: 1.00,
    }
}

fn fan_out(transport: Transport, subscribers: usize, bar: f64) -> Cell {
    let name = match transport {
        Transport::WebSocket => "ws",
        Transport::EventStream => "sse",
    };
    Cell { name: format!("fanout-{name}-{subscribers}"), work: Work::FanOut(FanOut { transport, subscribers }), bar }
}

fn handshakes(bar: f64) -> Cell {
    Cell { name: "handshakes".to_owned(), work: Work::Handshakes, bar }
}

impl Work {
    /// How many operations the figure is for, and what they are.
    pub fn per(self) -> (f64, &'static str) {
        match self {
            Work::Echo(_) | Work::Deflate(_) => (1e6, "per million messages"),
            Work::FanOut(_) => (1e6, "per million deliveries"),
            Work::Handshakes => (1e5, "per 100,000 handshakes"),
        }
    }

    /// At the same time, to one server.
    pub fn connections(self) -> usize {
        match self {
            Work::Echo(shape) => shape.connections,
            Work::Deflate(shape) => shape.connections,
            Work::FanOut(shape) => shape.subscribers,
            Work::Handshakes => 0,
        }
    }

    /// Whose cost the others' are compared with: nobody compresses without a protocol.
    pub fn reference(self) -> &'static str {
        match self {
            Work::Deflate(_) => OURS,
            _ => FLOOR,
        }
    }

    pub fn table(self) -> &'static str {
        match self {
            Work::Echo(_) => "Echo",
            Work::Deflate(_) => "Compressed echo of 1 KiB",
            Work::FanOut(_) => "Fan-out of 64 B",
            Work::Handshakes => "Opening handshakes",
        }
    }
}
