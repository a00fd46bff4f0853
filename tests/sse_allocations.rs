//! Events that lie whole in a read cost no allocation, and those that span reads none after warm-up but for their own state.

mod counting;

use counting::counts;
use tautline::sse::Parser;
use tautline::{Buffers, Input};

/// Allocations while `stream` is parsed in reads of `step` bytes, and the events that came of it.
fn allocations(parser: &mut Parser, buffers: &mut Buffers, stream: &[u8], step: usize) -> (u64, usize) {
    let mut read = vec![0; step];
    let mut events = 0;
    let before = counts().calls;
    for chunk in stream.chunks(step) {
        let read = &mut read[..chunk.len()];
        read.copy_from_slice(chunk);
        let lies_in = read.as_ptr_range();
        let mut input = Input::with_buffers(read, buffers);
        while let Some(event) = parser.next_event(&mut input).unwrap() {
            assert!(step < stream.len() || lies_in.contains(&event.data.as_ptr()), "lent from the read buffer");
            events += 1;
        }
    }
    (counts().calls - before, events)
}

#[test]
fn events_whole_in_a_read_are_lent_from_it_without_an_allocation() {
    let block = "data: one\n\nid: 1755\nevent: update\ndata: one\ndata: two\r\ndata: three\n\n: comment\n\nid: 5\ndata:x\rdata:y\r\r";
    let stream = block.repeat(100).into_bytes();
    let (mut parser, mut buffers) = (Parser::new(), Buffers::new());
    allocations(&mut parser, &mut buffers, &stream, stream.len());
    assert_eq!(allocations(&mut parser, &mut buffers, &stream, stream.len()), (0, 300));
}

#[test]
fn an_event_that_spans_reads_costs_one_allocation_after_warm_up_and_another_for_its_fields() {
    for (block, each) in [("data: one\ndata: two\n\n", 1), ("id: 1755\nevent: update\ndata: one\ndata: two\n\n", 2)] {
        let stream = block.repeat(100).into_bytes();
        let (mut parser, mut buffers) = (Parser::new(), Buffers::new());
        for step in [7, 1, 20] {
            allocations(&mut parser, &mut buffers, &stream, step);
            let (allocations, events) = allocations(&mut parser, &mut buffers, &stream, step);
            assert_eq!(events, 100);
            assert!(allocations <= 100 * each, "{allocations} at {step}");
        }
    }
}

#[test]
fn a_field_that_waits_for_its_event_holds_no_pooled_buffer() {
    let (mut warm, mut buffers) = (Parser::new(), Buffers::new());
    // One large event over two reads puts its buffer into the pool.
    let large = format!("data: {}\n\n", "x".repeat(500_000)).into_bytes();
    allocations(&mut warm, &mut buffers, &large, 400_000);
    let kept = buffers.kept();
    assert!(kept >= 500_000);
    let waiting = ["id: 7\n", "id: 7", "event: x\r", "topic: t\nid:", "id: 1\nevent: y\nda", "retry: 5\nid: 2\n: c"];
    let mut parsers = Vec::new();
    for (step, stream) in waiting.iter().flat_map(|stream| [(1, stream), (100, stream)]) {
        let mut parser = Parser::new();
        allocations(&mut parser, &mut buffers, stream.as_bytes(), step);
        assert!(parser.is_mid_event());
        parsers.push(parser);
        assert_eq!(buffers.kept(), kept, "{stream:?}");
    }
    // Data takes it, and gives it back; the fields' own do not go there.
    let mut parser = parsers.remove(0);
    allocations(&mut parser, &mut buffers, b"data: a", 3);
    assert_eq!(buffers.kept(), 0);
    assert_eq!(allocations(&mut parser, &mut buffers, b"\n\n", 1).1, 1);
    assert_eq!(buffers.kept(), kept);
}
