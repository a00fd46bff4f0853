//! embedded-websocket 0.9: slices in, slices out, for microcontrollers. It unmasks while it copies, validates no text and
//! leaves the request's head to the caller.

use embedded_websocket::{
    Client, Error, WebSocket, WebSocketReceiveMessageType as Received, WebSocketSendMessageType, WebSocketServer,
    WebSocketState, read_http_header,
};

use crate::cell::Refused;
use crate::corpus::Random;
use crate::feed::Feed;
use crate::recv::{Receive, Sink};
use crate::send::{Role, Sender as Send};
use crate::upgrade::Upgrade;

const NAME: &str = "embedded-websocket";

pub struct Receiver<'w> {
    feed: Feed<'w>,
    socket: WebSocketServer,
    buffer: Vec<u8>,
    len: usize,
    message: Vec<u8>,
    message_len: usize,
}

impl<'w> Receive<'w> for Receiver<'w> {
    const NAME: &'static str = NAME;

    fn new(feed: Feed<'w>) -> Self {
        let mut socket = WebSocketServer::new_server();
        socket.state = WebSocketState::Open;
        // A read and the header bytes that the one before it cut off; and the longest message there is.
        let buffer = vec![0; feed.step() + 16];
        Receiver { feed, socket, buffer, len: 0, message: vec![0; 1 << 20], message_len: 0 }
    }

    fn receive(&mut self, sink: &mut impl Sink) -> Result<(), Refused> {
        while let Some(read) = self.feed.read(&mut self.buffer[self.len..]) {
            self.len += read;
            let mut at = 0;
            while at < self.len {
                let into = &mut self.message[self.message_len..];
                let result = match self.socket.read(&self.buffer[at..self.len], into) {
                    Ok(result) => result,
                    Err(Error::ReadFrameIncomplete) => break,
                    Err(_) => return Err(Refused),
                };
                at += result.len_from;
                self.message_len += result.len_to;
                if result.end_of_message {
                    let message = &self.message[..std::mem::take(&mut self.message_len)];
                    match result.message_type {
                        Received::Text => sink.text(std::str::from_utf8(message).map_err(|_| Refused)?),
                        Received::Binary => sink.binary(message),
                        _ => {}
                    }
                }
            }
            self.buffer.copy_within(at..self.len, 0);
            self.len -= at;
        }
        Ok(())
    }
}

enum Socket {
    Server(WebSocketServer),
    Client(WebSocket<Random, Client>),
}

pub struct Sender {
    socket: Socket,
    out: Vec<u8>,
    len: usize,
}

impl Send for Sender {
    const NAME: &'static str = NAME;

    fn new(role: Role, capacity: usize) -> Self {
        let socket = match role {
            Role::Server => {
                let mut server = WebSocketServer::new_server();
                server.state = WebSocketState::Open;
                Socket::Server(server)
            }
            Role::Client => {
                let mut client = WebSocket::<Random, Client>::new_client(Random::new(5));
                client.state = WebSocketState::Open;
                Socket::Client(client)
            }
        };
        Sender { socket, out: vec![0; capacity], len: 0 }
    }

    #[inline]
    fn send(&mut self, payload: &[u8]) {
        let into = &mut self.out[self.len..];
        let binary = WebSocketSendMessageType::Binary;
        let written = match &mut self.socket {
            Socket::Server(server) => server.write(binary, true, payload, into),
            Socket::Client(client) => client.write(binary, true, payload, into),
        };
        self.len += written.expect("the output has room");
    }

    fn clear(&mut self) -> usize {
        std::mem::take(&mut self.len)
    }

    fn take(&mut self) -> Vec<u8> {
        let len = self.clear();
        self.out[..len].to_vec()
    }
}

/// Its documented way: httparse by the caller, then `read_http_header` and `server_accept`.
pub struct Handshake {
    answer: [u8; 1024],
}

impl Upgrade for Handshake {
    const NAME: &'static str = NAME;

    fn new() -> Self {
        Handshake { answer: [0; 1024] }
    }

    fn upgrade(&mut self, request: &mut [u8]) -> Result<&[u8], Refused> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Request::new(&mut headers);
        if !head.parse(request).is_ok_and(|status| status.is_complete()) || head.method != Some("GET") {
            return Err(Refused);
        }
        let headers = head.headers.iter().map(|header| (header.name, header.value));
        let context = read_http_header(headers).ok().flatten().ok_or(Refused)?;
        // It looks at neither the version nor whether a key was there; the second it leaves visible.
        if context.sec_websocket_key.is_empty() {
            return Err(Refused);
        }
        let len = WebSocketServer::new_server()
            .server_accept(&context.sec_websocket_key, None, &mut self.answer)
            .map_err(|_| Refused)?;
        Ok(&self.answer[..len])
    }
}
