//! Reading long frames to where they stay (`spare`, `filled`) reports exactly what reading into a buffer does.

mod ws_wire;

use proptest::prelude::*;
use tautline::ws::{Ending, Error};
use tautline::{Buffers, Input, Output};
use ws_wire::{NOW, Role, Seen, config, read_all, unsent};

/// Whether a reader asks for `spare`.
#[derive(Clone, Copy, PartialEq)]
enum Reader {
    Direct,
    Buffered,
}

/// Reads `wire` in pieces of the given lengths (repeated), and gives what was reported and replied, and how often bytes were
/// read directly.
fn read(role: Role, wire: &[u8], pieces: &[usize], reader: Reader) -> (Vec<Seen>, Vec<u8>, usize) {
    let config = config(|config| config.limits.message = 1 << 20);
    let mut connection = role.connect(config);
    let (mut buffers, mut out, mut seen) = (Buffers::new(), Output::new(), Vec::new());
    let (mut at, mut direct, mut arrived) = (0, 0, 0);
    let mut pieces = pieces.iter().cycle();
    while at < wire.len() {
        let piece = (*pieces.next().unwrap()).min(wire.len() - at);
        let mut left = &wire[at..at + piece];
        at += piece;
        arrived += piece;
        if reader == Reader::Direct
            && let Some(spare) = connection.spare()
        {
            assert!(spare.len() <= arrived, "{} bytes reserved on {arrived}", spare.len());
            let n = left.len().min(spare.len());
            spare[..n].copy_from_slice(&left[..n]);
            left = &left[n..];
            direct += 1;
            if let Err(error) = connection.filled(n, &mut out, NOW) {
                seen.push(Seen::Error(error));
            }
        }
        let mut rest = left.to_vec();
        let mut input = Input::with_buffers(&mut rest, &mut buffers);
        read_all(&mut connection, &mut input, &mut out, NOW, &mut seen);
    }
    (seen, unsent(&out), direct)
}

/// A message of one to three frames, with a ping between them.
fn message(role: Role) -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof!["[ -~]{1,64}", "[é漢😀a]{1,32}"].prop_map(String::into_bytes);
    let bytes = prop_oneof![text, prop::collection::vec(any::<u8>(), 1..64)];
    (bytes, 1usize..3000, prop::bool::ANY, prop::collection::vec(any::<prop::sample::Index>(), 0..3)).prop_map(
        move |(part, times, text, cuts)| {
            let payload = part.repeat(times);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(payload.len() + 1)).collect();
            cuts.sort_unstable();
            cuts.push(payload.len());
            let (mut wire, mut from, last) = (Vec::new(), 0, cuts.len() - 1);
            for (i, to) in cuts.into_iter().enumerate() {
                let opcode = if i > 0 {
                    0
                } else if text {
                    1
                } else {
                    2
                };
                let fin = if i == last { 0x80 } else { 0 };
                wire.extend(role.frame(fin | opcode, &payload[from..to]));
                wire.extend(role.frame(0x89, b"between"));
                from = to;
            }
            wire
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn direct_reading_reports_what_buffered_reading_reports(
        messages in (prop::bool::ANY).prop_flat_map(|server| {
            let role = if server { Role::Server } else { Role::Client };
            (Just(role), prop::collection::vec(message(role), 1..4))
        }),
        pieces in prop::collection::vec(prop_oneof![1usize..100, 1000usize..70_000], 1..8),
    ) {
        let (role, messages) = messages;
        let wire = messages.concat();
        let (buffered, replies, _) = read(role, &wire, &pieces, Reader::Buffered);
        let (direct, direct_replies, _) = read(role, &wire, &pieces, Reader::Direct);
        prop_assert!(direct == buffered, "what was seen differs");
        prop_assert_eq!(direct_replies, replies);
    }
}

#[test]
fn a_long_message_is_read_directly_and_arrives_whole() {
    for role in [Role::Server, Role::Client] {
        for first in [0x81, 0x82] {
            let payload = "漢字😀x".repeat(60_000).into_bytes();
            let wire = role.frame(first, &payload);
            let (seen, _, direct) = read(role, &wire, &[64 << 10], Reader::Direct);
            assert!(direct > wire.len() / (64 << 10) / 2, "{direct} direct reads of {} bytes", wire.len());
            match &seen[..] {
                [Seen::Text(text)] => assert_eq!((first, text.as_bytes()), (0x81, &payload[..])),
                [Seen::Binary(bytes)] => assert_eq!((first, bytes), (0x82, &payload)),
                other => panic!("{} events", other.len()),
            }
        }
    }
}

#[test]
fn u1_text_that_is_read_directly_fails_at_its_first_impossible_byte() {
    let mut payload = vec![b'a'; 200_000];
    payload[150_000] = 0xff;
    let wire = Role::Server.frame(0x81, &payload);
    // Up to just behind the bad byte, with its header.
    let (seen, _, direct) = read(Role::Server, &wire[..150_000 + 14 + 1], &[50_000], Reader::Direct);
    assert!(direct > 0);
    let closed = Seen::closed(1007, Ending::Failed(Error::InvalidUtf8));
    assert_eq!(seen, [Seen::Error(Error::InvalidUtf8), closed]);
}

#[test]
fn room_is_lent_only_inside_a_long_frame_and_never_more_than_has_come() {
    let mut connection = Role::Server.connect(config(|_| ()));
    let mut out = Output::new();
    assert!(connection.spare().is_none());
    let mut wire = Role::Server.header(0x82, 1 << 20);
    wire.extend([0; 100]);
    assert!(connection.next_event(&mut Input::new(&mut wire), &mut out, NOW).unwrap().is_none());
    assert!(connection.spare().is_none(), "100 bytes of a megabyte have come");
    assert!(connection.next_event(&mut Input::new(&mut [0; 5000]), &mut out, NOW).unwrap().is_none());
    assert_eq!(connection.spare().map(|spare| spare.len()), Some(5100));
    // More than was lent, or without asking: nothing happens.
    connection.filled(5101, &mut out, NOW).unwrap();
    assert_eq!(connection.spare().map(|spare| spare.len()), Some(5100));
    connection.filled(5100, &mut out, NOW).unwrap();
    assert_eq!(connection.spare().map(|spare| spare.len()), Some(10_200));
    connection.handle_eof(NOW);
    assert!(connection.spare().is_none());
    connection.filled(1, &mut out, NOW).unwrap();
}
