//! sse-stream 0.3: a `Stream` of events over a `Stream` of chunks; polled by hand here.

use std::convert::Infallible;
use std::hint::black_box;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use sse_stream::SseByteStream;

use crate::cell::Refused;
use crate::feed::Feed;
use crate::sse::{EventSink, Parse};

pub struct Parser<'w> {
    events: SseByteStream<Chunks<'w>>,
}

/// Pays for the read's copy as everybody does, and then yields the chunk where it came from: an item cannot borrow from its
/// stream, and a reference-counted buffer would charge the peer for one.
struct Chunks<'w> {
    feed: Feed<'w>,
    buffer: Vec<u8>,
}

impl<'w> Stream for Chunks<'w> {
    type Item = Result<&'w [u8], Infallible>;

    #[inline]
    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(chunk) = this.feed.take(this.buffer.len()) else {
            return Poll::Pending;
        };
        this.buffer[..chunk.len()].copy_from_slice(chunk);
        black_box(&this.buffer);
        Poll::Ready(Some(Ok(chunk)))
    }
}

impl<'w> Parse<'w> for Parser<'w> {
    const NAME: &'static str = "sse-stream";

    fn new(feed: Feed<'w>) -> Self {
        let buffer = vec![0; feed.step()];
        Parser { events: SseByteStream::new(Chunks { feed, buffer }) }
    }

    fn parse(&mut self, sink: &mut impl EventSink) -> Result<(), Refused> {
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(event) = Pin::new(&mut self.events).poll_next(&mut context) {
            let event = event.ok_or(Refused)?.map_err(|_| Refused)?;
            sink.event(
                event.event.as_deref().unwrap_or(""),
                event.id.as_deref().unwrap_or(""),
                event.data.as_deref().unwrap_or(""),
            );
        }
        Ok(())
    }
}
