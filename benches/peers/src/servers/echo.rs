//! Echo: a number of messages in flight on each connection. Whatever comes back is sent anew, at once and in one piece.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::Load;
use crate::cells::Echo;
use crate::process::Server;
use crate::socket::{self, Poll, READ};
use crate::wire::{self, Dialect};

pub struct Lines {
    shape: Echo,
    dialect: Dialect,
    poll: Poll,
    sockets: Vec<TcpStream>,
    /// Bytes of an incomplete reply, by line.
    partial: Vec<usize>,
    /// As many messages as are in flight on a line.
    burst: Vec<u8>,
    message: usize,
    reply: usize,
    buffer: Vec<u8>,
}

impl Lines {
    pub fn connect(server: &Server, shape: Echo, dialect: Dialect) -> Result<Self, String> {
        let payloads: Vec<_> = (0..shape.depth).map(|nth| wire::payload(shape.size, nth as u64)).collect();
        let mut lines = Lines {
            shape,
            dialect,
            poll: Poll::new().map_err(|error| format!("epoll: {error}"))?,
            sockets: Vec::with_capacity(shape.connections),
            partial: vec![0; shape.connections],
            burst: payloads.iter().flat_map(|payload| wire::message(payload)).collect(),
            message: wire::message(&payloads[0]).len(),
            reply: wire::reply(&payloads[0], dialect).len(),
            buffer: vec![0; READ],
        };
        let request = wire::upgrade_request(server.port);
        for line in 0..shape.connections {
            let socket = socket::connect(line, server.port).map_err(|error| format!("connect: {error}"))?;
            socket.set_nodelay(true).map_err(|error| format!("TCP_NODELAY: {error}"))?;
            socket::send(&socket, &request)?;
            lines.poll.add(&socket, line).map_err(|error| format!("epoll: {error}"))?;
            lines.sockets.push(socket);
        }
        for (line, head) in lines.collect(|bytes| wire::head_end(bytes).is_some())?.iter().enumerate() {
            wire::check_upgraded(head).map_err(|error| format!("line {line}: {error}"))?;
        }
        Ok(lines)
    }

    /// Other payloads on each line, each byte of the replies compared.
    pub fn verify(&mut self) -> Result<(), String> {
        let depth = self.shape.depth;
        let size = self.shape.size;
        let payloads = |line: usize| (0..depth).map(move |nth| wire::payload(size, (line * depth + nth + 1000) as u64));
        for (line, socket) in self.sockets.iter().enumerate() {
            socket::send(socket, &payloads(line).flat_map(|payload| wire::message(&payload)).collect::<Vec<_>>())?;
        }
        let (expected, dialect) = (self.reply * depth, self.dialect);
        for (line, replies) in self.collect(|bytes| bytes.len() >= expected)?.iter().enumerate() {
            if *replies != payloads(line).flat_map(|payload| wire::reply(&payload, dialect)).collect::<Vec<_>>() {
                let shown = &replies[..replies.len().min(64)];
                return Err(format!("line {line} got other bytes than it sent: {} ...", shown.escape_ascii()));
            }
        }
        Ok(())
    }

    /// A tenth of the time before it counts, then all of it, then no new messages until all are back.
    pub fn run(&mut self, server: &Server, turn: Duration) -> Result<Load, String> {
        let unmeasured = self.drive(turn / 10)?;
        server.measure(unmeasured, || self.drive(turn))
    }

    /// Returns the number of messages that came back.
    fn drive(&mut self, turn: Duration) -> Result<u64, String> {
        let end = Instant::now() + turn;
        for socket in &self.sockets {
            socket::send(socket, &self.burst)?;
        }
        let mut in_flight = self.sockets.len() * self.shape.depth;
        let mut done = 0;
        while in_flight > 0 {
            let ready = self.poll.wait()?;
            let over = Instant::now() >= end;
            for line in ready {
                let socket = &self.sockets[line];
                let bytes = self.partial[line] + socket::receive(socket, &mut self.buffer)?.len();
                let replies = bytes / self.reply;
                self.partial[line] = bytes % self.reply;
                if replies > self.shape.depth {
                    return Err(format!("line {line} got more messages than it sent"));
                }
                done += replies as u64;
                if over {
                    in_flight = in_flight.checked_sub(replies).ok_or("more came back than was sent")?;
                } else if replies > 0 {
                    socket::send(socket, &self.burst[..replies * self.message])?;
                }
            }
        }
        if self.partial.iter().any(|bytes| *bytes != 0) {
            return Err("bytes came that belong to no reply".to_owned());
        }
        Ok(done)
    }

    /// Reads every line until what it got `is_complete`.
    fn collect(&mut self, is_complete: impl Fn(&[u8]) -> bool) -> Result<Vec<Vec<u8>>, String> {
        let mut received = vec![Vec::new(); self.sockets.len()];
        let mut open = received.len();
        while open > 0 {
            for line in self.poll.wait()? {
                let read = socket::receive(&self.sockets[line], &mut self.buffer)?;
                let got = &mut received[line];
                let was_complete = is_complete(got);
                got.extend_from_slice(read);
                open -= usize::from(!was_complete && is_complete(got));
            }
        }
        Ok(received)
    }
}
