//! wtx 0.46: async over streams of its own kind, with buffers that the caller may lend to one connection after another.

use wtx::collection::Vector;
use wtx::rng::Xorshift64;
use wtx::web_socket::{
    Frame, OpCode, WebSocket, WebSocketAcceptor, WebSocketBuffer, WebSocketMut, WebSocketOwned, WebSocketPayloadOrigin,
};

use crate::cell::Refused;
use crate::feed::{Feed, Memory, poll_once};
use crate::recv::{Receive, Sink};
use crate::send::{Role, Sender as Send};
use crate::upgrade::Upgrade;

const NAME: &str = "wtx";

pub struct Receiver<'w> {
    socket: WebSocketOwned<(), Xorshift64, Memory<'w>, false>,
    /// Where fragments would be put together; whole frames are lent from the network buffer.
    fragments: Vector<u8>,
}

impl<'w> Receive<'w> for Receiver<'w> {
    const NAME: &'static str = NAME;

    fn new(feed: Feed<'w>) -> Self {
        // Twice the read, so that most frames that straddle two reads fit without moving; it grows for longer ones.
        let buffer = WebSocketBuffer::with_capacity(2 * feed.step().max(4 << 10), 0, 0).expect("memory");
        let socket = WebSocket::new((), false, Xorshift64::new(5), Memory::new(feed), buffer);
        Receiver { socket, fragments: Vector::new() }
    }

    fn receive(&mut self, sink: &mut impl Sink) -> Result<(), Refused> {
        let received: Option<Result<(), Refused>> = poll_once(async {
            loop {
                let frame = self.socket.read_frame(&mut self.fragments, WebSocketPayloadOrigin::Adaptive);
                let frame = frame.await.map_err(|_| Refused)?;
                match frame.op_code() {
                    OpCode::Text => sink.text(frame.text_payload().ok_or(Refused)?),
                    OpCode::Binary => sink.binary(frame.payload()),
                    _ => {}
                }
            }
        });
        received.unwrap_or(Ok(()))
    }
}

/// A server's frames without their connection, which would hand the same two slices to its stream at once.
///
/// Masking is private to the connection, so a client has one made for each message, around lent buffers: it owns its stream
/// and lends it to nobody, and making one costs a few nanoseconds.
pub struct Sender {
    role: Role,
    memory: Memory<'static>,
    buffer: WebSocketBuffer,
    random: u64,
    scratch: Vec<u8>,
}

impl Send for Sender {
    const NAME: &'static str = NAME;

    fn new(role: Role, capacity: usize) -> Self {
        let (memory, buffer) = (Memory::sink(capacity), WebSocketBuffer::new());
        Sender { role, memory, buffer, random: 5, scratch: Vec::new() }
    }

    #[inline]
    fn send(&mut self, payload: &[u8]) {
        if self.role == Role::Server {
            let frame = Frame::<_, false>::new_fin(OpCode::Binary, payload);
            let (header, payload) = frame.header_and_payload();
            self.memory.out.extend_from_slice(header);
            self.memory.out.extend_from_slice(payload);
            return;
        }
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let random = Xorshift64::new(self.random);
        let mut client = WebSocketMut::<_, _, _, true>::new((), false, random, &mut self.memory, &mut self.buffer);
        // It masks in the payload that it is given.
        self.scratch.clear();
        self.scratch.extend_from_slice(payload);
        let frame = &mut Frame::new_fin(OpCode::Binary, &mut self.scratch[..]);
        poll_once(client.write_frame(frame)).expect("memory is always ready").expect("an open connection");
    }

    fn clear(&mut self) -> usize {
        let len = self.memory.out.len();
        self.memory.out.clear();
        len
    }

    fn take(&mut self) -> Vec<u8> {
        self.memory.out.split_off(0)
    }
}

/// The connection's buffer is lent and kept, which is what its acceptor is made for.
pub struct Handshake {
    buffer: WebSocketBuffer,
    answer: Vec<u8>,
}

impl Upgrade for Handshake {
    const NAME: &'static str = NAME;

    fn new() -> Self {
        Handshake {
            buffer: WebSocketBuffer::with_capacity(4 << 10, 0, 0).expect("memory"),
            answer: Vec::with_capacity(512),
        }
    }

    fn upgrade(&mut self, request: &mut [u8]) -> Result<&[u8], Refused> {
        self.answer.clear();
        let mut socket = Memory { feed: Feed::new(request, request.len()), out: std::mem::take(&mut self.answer) };
        let acceptor = WebSocketAcceptor::default().no_masking(false).wsb(&mut self.buffer);
        let accepted = poll_once(acceptor.accept(&mut socket)).is_some_and(|done| done.is_ok());
        self.answer = socket.out;
        if accepted { Ok(&self.answer) } else { Err(Refused) }
    }
}
