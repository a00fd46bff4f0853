//! Fan-out: one publication to every subscriber, the next one when all have it.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::Load;
use crate::cells::{FanOut, Transport};
use crate::process::Server;
use crate::socket::{self, Poll, READ};
use crate::wire;

/// Connections that are opened at the same time; fewer than any listener's backlog.
const OPENING: usize = 100;

pub struct Subscribers {
    shape: FanOut,
    poll: Poll,
    sockets: Vec<TcpStream>,
    publisher: Publisher,
    /// What each subscriber has to get.
    delivery: Vec<u8>,
    buffer: Vec<u8>,
}

impl Subscribers {
    pub fn connect(server: &Server, shape: FanOut) -> Result<Self, String> {
        let data = wire::publication();
        let mut subscribers = Subscribers {
            shape,
            poll: Poll::new().map_err(|error| format!("epoll: {error}"))?,
            sockets: Vec::with_capacity(shape.subscribers),
            publisher: Publisher::Subscriber { message: wire::message(&data) },
            delivery: wire::delivery(shape.transport, &data),
            buffer: vec![0; READ],
        };
        while subscribers.sockets.len() < shape.subscribers {
            subscribers.open(server.port)?;
        }
        if shape.transport == Transport::EventStream {
            let request = wire::post(server.port, &data);
            subscribers.publisher = Publisher::Poster { port: server.port, request, socket: None };
        }
        // What a server sends of its own at the beginning of a stream may come with the first publication, at the latest.
        let delivery = subscribers.delivery.clone();
        subscribers.publish()?;
        subscribers.collect(0, |bytes| bytes.ends_with(&delivery))?;
        subscribers.publisher.confirm()?;
        Ok(subscribers)
    }

    /// One publication, each byte of the deliveries compared.
    pub fn verify(&mut self) -> Result<(), String> {
        let length = self.delivery.len();
        self.publish()?;
        for (nth, got) in self.collect(0, |bytes| bytes.len() >= length)?.iter().enumerate() {
            if *got != self.delivery {
                let (got, wanted) = (got.escape_ascii(), self.delivery.escape_ascii());
                return Err(format!("subscriber {nth} got {got} and not {wanted}"));
            }
        }
        self.publisher.confirm()
    }

    /// At least two publications, and as many as begin within the time.
    pub fn run(&mut self, server: &Server, turn: Duration) -> Result<Load, String> {
        self.round()?;
        server.measure(self.sockets.len() as u64, || {
            let end = Instant::now() + turn;
            let mut publications = 0;
            while publications < 2 || Instant::now() < end {
                self.round()?;
                publications += 1;
            }
            Ok(publications * self.sockets.len() as u64)
        })
    }

    fn round(&mut self) -> Result<(), String> {
        self.publish()?;
        let mut left = vec![self.delivery.len(); self.sockets.len()];
        let mut open = left.len();
        while open > 0 {
            for nth in self.poll.wait()? {
                let read = socket::receive(&self.sockets[nth], &mut self.buffer)?.len();
                let left = &mut left[nth];
                *left = left.checked_sub(read).ok_or_else(|| format!("subscriber {nth} got too much"))?;
                open -= usize::from(*left == 0 && read > 0);
            }
        }
        self.publisher.confirm()
    }

    fn publish(&mut self) -> Result<(), String> {
        self.publisher.publish(&self.sockets[0])
    }

    /// Opens some more.
    fn open(&mut self, port: u16) -> Result<(), String> {
        let first = self.sockets.len();
        let request = match self.shape.transport {
            Transport::WebSocket => wire::upgrade_request(port),
            Transport::EventStream => wire::events_request(port),
        };
        for nth in first..self.shape.subscribers.min(first + OPENING) {
            let socket = socket::connect(nth, port).map_err(|error| format!("connect: {error}"))?;
            socket.set_nodelay(true).map_err(|error| format!("TCP_NODELAY: {error}"))?;
            socket::send(&socket, &request)?;
            self.poll.add(&socket, nth).map_err(|error| format!("epoll: {error}"))?;
            self.sockets.push(socket);
        }
        for (nth, got) in self.collect(first, |bytes| wire::head_end(bytes).is_some())?.iter().enumerate() {
            let head = &got[..wire::head_end(got).unwrap_or(0)];
            let checked = match self.shape.transport {
                Transport::WebSocket => wire::check_upgraded(head),
                Transport::EventStream => wire::check_streaming(head),
            };
            checked.map_err(|error| format!("subscriber {}: {error}", first + nth))?;
        }
        Ok(())
    }

    /// Reads the subscribers from `first` on until what each got `is_complete`. Others get nothing meanwhile, or too much.
    fn collect(&mut self, first: usize, is_complete: impl Fn(&[u8]) -> bool) -> Result<Vec<Vec<u8>>, String> {
        let mut received = vec![Vec::new(); self.sockets.len() - first];
        let mut open = received.len();
        while open > 0 {
            for nth in self.poll.wait()? {
                let read = socket::receive(&self.sockets[nth], &mut self.buffer)?;
                let Some(got) = nth.checked_sub(first).map(|nth| &mut received[nth]) else { continue };
                let was_complete = is_complete(got);
                got.extend_from_slice(read);
                open -= usize::from(!was_complete && is_complete(got));
            }
        }
        Ok(received)
    }
}

/// Who publishes.
enum Publisher {
    /// The first subscriber, with a message.
    Subscriber { message: Vec<u8> },
    /// A client of its own, with a POST. It connects anew where the server closes after its answer.
    Poster { port: u16, request: Vec<u8>, socket: Option<TcpStream> },
}

impl Publisher {
    fn publish(&mut self, first: &TcpStream) -> Result<(), String> {
        match self {
            Publisher::Subscriber { message } => socket::send(first, message),
            Publisher::Poster { port, request, socket } => {
                if socket.is_none() {
                    *socket = Some(socket::connect(0, *port).map_err(|error| format!("connect: {error}"))?);
                }
                socket.as_ref().map_or(Ok(()), |socket| socket::send(socket, request))
            }
        }
    }

    /// Reads the answer to a POST.
    fn confirm(&mut self) -> Result<(), String> {
        let Publisher::Poster { socket, .. } = self else { return Ok(()) };
        let Some(poster) = socket else { return Ok(()) };
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            socket::readable(poster)?;
            answer.extend_from_slice(socket::receive(poster, &mut buffer)?);
            let Some(end) = wire::head_end(&answer) else { continue };
            let head = &answer[..end];
            if !head.starts_with(b"HTTP/1.1 20") {
                return Err(format!("not published: {}", head.escape_ascii()));
            }
            let length = wire::field(head, "content-length").map_or(Ok(0), str::parse).map_err(|_| "a bad length")?;
            if answer.len() - end >= length {
                if wire::field(head, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
                    *socket = None;
                }
                return Ok(());
            }
        }
    }
}
