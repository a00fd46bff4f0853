//! tokio-websockets 0.13: a `Stream` and `Sink` on tokio-util's framing; polled by hand here.
//!
//! It takes AVX2 for unmasking and simdutf8 for text where the CPU has it, at run time. Its read buffer cannot be set; it
//! grows with what it reads.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_core::Stream;
use futures_sink::Sink as FuturesSink;
use tokio_websockets::{ClientBuilder, Config, Limits, Message, ServerBuilder, WebSocketStream};

use crate::cell::Refused;
use crate::feed::{Feed, Memory, poll_once};
use crate::recv::{Receive, Sink};
use crate::send::{Role, Sender as Send};
use crate::upgrade::Upgrade;

const NAME: &str = "tokio-websockets";

pub struct Receiver<'w> {
    stream: WebSocketStream<Memory<'w>>,
}

impl<'w> Receive<'w> for Receiver<'w> {
    const NAME: &'static str = NAME;

    fn new(feed: Feed<'w>) -> Self {
        let builder = ServerBuilder::new().limits(Limits::unlimited());
        Receiver { stream: builder.serve(Memory::new(feed)) }
    }

    fn receive(&mut self, sink: &mut impl Sink) -> Result<(), Refused> {
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(message) = Pin::new(&mut self.stream).poll_next(&mut context) {
            let message = message.ok_or(Refused)?.map_err(|_| Refused)?;
            match message.as_text() {
                Some(text) => sink.text(text),
                None => sink.binary(message.as_payload()),
            }
        }
        Ok(())
    }
}

pub struct Sender {
    stream: WebSocketStream<Memory<'static>>,
}

impl Send for Sender {
    const NAME: &'static str = NAME;

    fn new(role: Role, capacity: usize) -> Self {
        // Nothing is flushed before `clear`: one vectored write takes dozens of frames.
        let config = Config::default().flush_threshold(usize::MAX);
        let socket = Memory::sink(capacity);
        let stream = match role {
            Role::Server => ServerBuilder::new().config(config).serve(socket),
            Role::Client => ClientBuilder::new().config(config).take_over(socket),
        };
        Sender { stream }
    }

    #[inline]
    fn send(&mut self, payload: &[u8]) {
        // A message owns its payload, so a borrowed one is copied into it.
        let message = Message::binary(Bytes::copy_from_slice(payload));
        Pin::new(&mut self.stream).start_send(message).expect("an open stream");
    }

    fn clear(&mut self) -> usize {
        let flushed = Pin::new(&mut self.stream).poll_flush(&mut Context::from_waker(Waker::noop()));
        assert!(flushed.is_ready(), "memory is always ready to be written to");
        let out = &mut self.stream.get_mut().out;
        let len = out.len();
        out.clear();
        len
    }

    fn take(&mut self) -> Vec<u8> {
        let flushed = Pin::new(&mut self.stream).poll_flush(&mut Context::from_waker(Waker::noop()));
        assert!(flushed.is_ready(), "memory is always ready to be written to");
        self.stream.get_mut().out.split_off(0)
    }
}

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
        let accepted = poll_once(ServerBuilder::new().accept(&mut socket)).is_some_and(|done| done.is_ok());
        self.answer = socket.out;
        if accepted { Ok(&self.answer) } else { Err(Refused) }
    }
}
