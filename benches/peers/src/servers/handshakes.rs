//! Opening handshakes: connect, request, answer, close; a number of them at the same time.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::Load;
use crate::process::Server;
use crate::socket::{self, Poll};
use crate::wire;

/// At the same time.
const OPENING: usize = 64;

pub struct Clients {
    port: u16,
    request: Vec<u8>,
    poll: Poll,
    /// How many were made, for their source addresses.
    made: usize,
}

struct Client {
    socket: TcpStream,
    /// What it got so far, where that is not the whole answer.
    answer: Vec<u8>,
}

impl Clients {
    pub fn new(server: &Server) -> Result<Self, String> {
        let poll = Poll::new().map_err(|error| format!("epoll: {error}"))?;
        Ok(Clients { port: server.port, request: wire::upgrade_request(server.port), poll, made: 0 })
    }

    /// A tenth of the time before it counts. Every answer is checked.
    pub fn run(&mut self, server: &Server, turn: Duration) -> Result<Load, String> {
        let unmeasured = self.drive(turn / 10)?;
        server.measure(unmeasured, || self.drive(turn))
    }

    fn drive(&mut self, turn: Duration) -> Result<u64, String> {
        let end = Instant::now() + turn;
        let mut clients = Vec::with_capacity(OPENING);
        for nth in 0..OPENING {
            clients.push(self.client(nth)?);
        }
        let mut buffer = [0; 4096];
        let mut open = OPENING;
        let mut done = 0;
        let mut ready = Vec::with_capacity(OPENING);
        while open > 0 {
            ready.clear();
            ready.extend(self.poll.wait()?);
            let over = Instant::now() >= end;
            for nth in &ready {
                let Some(client) = &mut clients[*nth] else { continue };
                client.answer.extend_from_slice(socket::receive(&client.socket, &mut buffer)?);
                let Some(length) = wire::head_end(&client.answer) else { continue };
                if length < client.answer.len() {
                    return Err("bytes came after the answer".to_owned());
                }
                wire::check_upgraded(&client.answer)?;
                done += 1;
                // It has read all that came, so that this ends in a FIN and not in a reset.
                clients[*nth] = None;
                if over {
                    open -= 1;
                } else {
                    clients[*nth] = self.client(*nth)?;
                }
            }
        }
        Ok(done)
    }

    fn client(&mut self, nth: usize) -> Result<Option<Client>, String> {
        let socket = socket::connect(self.made, self.port).map_err(|error| format!("connect: {error}"))?;
        self.made += 1;
        socket::send(&socket, &self.request)?;
        self.poll.add(&socket, nth).map_err(|error| format!("epoll: {error}"))?;
        Ok(Some(Client { socket, answer: Vec::new() }))
    }
}
