//! The event-stream parser: any bytes, at any cut, under any limits. Whole, cut and byte by byte must agree, and nothing panics.
//!
//! The first byte chooses the limits, the second the size of the reads; the rest is the stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tautline::sse::{Limits, ParseError, Parser};
use tautline::{Buffers, Input};

/// Everything that a stream leaves behind, or the limit that it broke.
type Outcome = Result<(Vec<[Option<String>; 5]>, String, Option<u64>), ParseError>;

fn parse<'c>(limits: Limits, chunks: impl Iterator<Item = &'c [u8]>) -> Outcome {
    let mut parser = Parser::with_limits(limits);
    let mut buffers = Buffers::new();
    let mut events = Vec::new();
    for chunk in chunks {
        let mut chunk = chunk.to_vec();
        let mut input = Input::with_buffers(&mut chunk, &mut buffers);
        while let Some(event) = parser.next_event(&mut input)? {
            let owned = |text: &str| Some(text.to_owned());
            events.push([
                owned(event.event),
                owned(event.data),
                event.id.and_then(owned),
                event.topic.and_then(owned),
                owned(parser.last_event_id()),
            ]);
        }
        assert!(input.is_empty());
    }
    Ok((events, parser.last_event_id().to_owned(), parser.retry()))
}

fn check(data: &[u8]) {
    let [choice, step, stream @ ..] = data else { return };
    let limits = match choice {
        0..128 => Limits::default(),
        _ => Limits { line: usize::from(choice & 0x3F), event: usize::from(choice & 0x3F) + usize::from(step & 0x0F) },
    };
    let whole = parse(limits, [stream].into_iter());
    assert_eq!(parse(limits, stream.chunks(usize::from(*step).max(1))), whole);
    assert_eq!(parse(limits, stream.chunks(1)), whole);
}

fuzz_target!(|data: &[u8]| check(data));
