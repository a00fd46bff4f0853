//! sse-core 0.2: a sans-IO decoder that takes any `Buf` and owns what it yields.

use sse_core::{SseDecoder, SseEvent};

use crate::cell::Refused;
use crate::feed::Feed;
use crate::sse::{EventSink, Parse};

pub struct Parser<'w> {
    feed: Feed<'w>,
    buffer: Vec<u8>,
    decoder: SseDecoder,
}

impl<'w> Parse<'w> for Parser<'w> {
    const NAME: &'static str = "sse-core";

    fn new(feed: Feed<'w>) -> Self {
        let buffer = vec![0; feed.step()];
        Parser { feed, buffer, decoder: SseDecoder::new() }
    }

    fn parse(&mut self, sink: &mut impl EventSink) -> Result<(), Refused> {
        while let Some(read) = self.feed.read(&mut self.buffer) {
            let mut chunk = &self.buffer[..read];
            while let Some(event) = self.decoder.next(&mut chunk) {
                if let SseEvent::Message(message) = event.map_err(|_| Refused)? {
                    let id = message.last_event_id.as_deref().unwrap_or("");
                    sink.event(&message.event, id, &message.data);
                }
            }
        }
        Ok(())
    }
}
