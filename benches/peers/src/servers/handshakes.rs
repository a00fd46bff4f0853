//! Opening handshakes: connect, request, answer, close; a number of them at the same time.

use std::collections::VecDeque;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::Load;
use crate::process::Server;
use crate::socket;
use crate::wire;

/// At the same time.
const OPENING: usize = 64;

pub struct Clients {
    port: u16,
    request: Vec<u8>,
    /// How many were made, for their source addresses.
    made: usize,
}

impl Clients {
    pub fn new(server: &Server) -> Self {
        Clients { port: server.port, request: wire::upgrade_request(server.port), made: 0 }
    }

    /// A tenth of the time before it counts. Every answer is checked.
    pub fn run(&mut self, server: &Server, turn: Duration) -> Result<Load, String> {
        let unmeasured = self.drive(turn / 10)?;
        server.measure(unmeasured, || self.drive(turn))
    }

    /// One after the other, oldest first, and without epoll: a client costs more than a server's side of it, and where the
    /// load is the slower one, a server pays for going to sleep and waking up.
    fn drive(&mut self, turn: Duration) -> Result<u64, String> {
        let end = Instant::now() + turn;
        let mut clients = VecDeque::with_capacity(OPENING);
        for _ in 0..OPENING {
            clients.push_back(self.open()?);
        }
        let mut done = 0;
        while let Some(socket) = clients.pop_front() {
            answer(&socket)?;
            // All that came has been read, so this ends in a FIN and not in a reset.
            drop(socket);
            done += 1;
            if Instant::now() < end {
                clients.push_back(self.open()?);
            }
        }
        Ok(done)
    }

    fn open(&mut self) -> Result<TcpStream, String> {
        let socket = socket::connect(self.made, self.port).map_err(|error| format!("connect: {error}"))?;
        self.made += 1;
        socket::send(&socket, &self.request)?;
        Ok(socket)
    }
}

fn answer(socket: &TcpStream) -> Result<(), String> {
    let mut buffer = [0; 4096];
    let mut answer = Vec::new();
    loop {
        socket::readable(socket)?;
        answer.extend_from_slice(socket::receive(socket, &mut buffer)?);
        match wire::head_end(&answer) {
            Some(end) if end == answer.len() => return wire::check_upgraded(&answer),
            Some(_) => return Err("bytes came after the answer".to_owned()),
            None => {}
        }
    }
}
