//! tautline's event-stream parser, behind one read buffer.

use tautline::sse::Parser as SseParser;
use tautline::{Buffers, Input};

use crate::cell::Refused;
use crate::feed::Feed;
use crate::sse::{EventSink, Parse};

pub struct Parser<'w> {
    feed: Feed<'w>,
    buffer: Vec<u8>,
    buffers: Buffers,
    parser: SseParser,
}

impl<'w> Parse<'w> for Parser<'w> {
    const NAME: &'static str = "tautline";

    fn new(feed: Feed<'w>) -> Self {
        Parser { buffer: vec![0; feed.step()], feed, buffers: Buffers::new(), parser: SseParser::new() }
    }

    fn parse(&mut self, sink: &mut impl EventSink) -> Result<(), Refused> {
        while let Some(read) = self.feed.read(&mut self.buffer) {
            let mut input = Input::with_buffers(&mut self.buffer[..read], &mut self.buffers);
            while let Some(event) = self.parser.next_event(&mut input).map_err(|_| Refused)? {
                sink.event(event.event, event.id.unwrap_or_default(), event.data);
            }
        }
        Ok(())
    }
}
