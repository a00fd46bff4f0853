//! Held to streams of zlib-rs and to streams made by hand, both with all their distances known, and to what zlib-rs refuses.

mod streams;

use super::*;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;
use streams::{DISTANCES, Inflated, LENGTHS, Naive, Token, Writer, canonical, first_too_far, fixed_lengths, inflated};
use zlib_rs::{DeflateConfig, DeflateFlush, Strategy as Matching};

/// The windows of RFC 7692 that this is for.
const WINDOWS: core::ops::RangeInclusive<u8> = 8..=14;

// ---- How a scanner answers -------------------------------------------------------------------------------------------------

/// The first piece that is too far, and whether the scanner stopped looking. Pieces are cut at `cuts`; each is given.
fn follow(scanner: &mut Distances, bytes: &[u8], cuts: &[usize]) -> (Option<core::ops::Range<usize>>, bool) {
    let (mut from, mut too_far) = (0, None);
    for &cut in cuts.iter().chain([&bytes.len()]) {
        let cut = cut.clamp(from, bytes.len());
        let answer = scanner.check(&bytes[from..cut]);
        if too_far.is_some() {
            assert_eq!(answer, Err(TooFar), "an error stays");
        } else if answer.is_err() {
            too_far = Some(from..cut);
        }
        from = cut;
    }
    (too_far, scanner.state == State::Lost)
}

/// Gives `bytes` one at a time: with how many it is too far, and whether the scanner stopped looking.
fn bytewise(window_bits: u8, bytes: &[u8]) -> (Option<usize>, bool) {
    let cuts: Vec<_> = (1..bytes.len()).collect();
    let (too_far, is_lost) = follow(&mut Distances::new(window_bits), bytes, &cuts);
    (too_far.map(|piece| piece.end), is_lost)
}

/// The same cut anywhere: the piece has the byte. In a scanner that was used before.
fn assert_any_cut_agrees(window_bits: u8, bytes: &[u8], cuts: &[usize]) {
    let (too_far, is_lost) = bytewise(window_bits, bytes);
    let mut scanner = Distances::new(window_bits);
    let _ = scanner.check(bytes);
    scanner.reset();
    let (piece, also_lost) = follow(&mut scanner, bytes, cuts);
    assert_eq!(is_lost, also_lost);
    assert_eq!(too_far.is_some(), piece.is_some());
    if let (Some(at), Some(piece)) = (too_far, piece) {
        assert!(piece.start < at && at <= piece.end, "{at} {piece:?}");
    }
}

// ---- Windows ---------------------------------------------------------------------------------------------------------------

#[test]
fn a_distance_of_the_window_passes_and_one_more_is_too_far() {
    for window_bits in WINDOWS {
        for (distance, expected) in [(1 << window_bits, Ok(())), ((1 << window_bits) + 1, Err(TooFar))] {
            let mut stream = Writer::default();
            stream.full_window().fixed(0).token(Token::Match { length: 3, distance }).end().stored(0, b"");
            // A sound stream: an inflater with a larger window takes it.
            assert!(matches!(inflated(&stream.bytes), Inflated::Whole(output) if output.len() > 1 << 15));
            assert_eq!(Distances::new(window_bits).check(&stream.bytes), expected, "{window_bits} {distance}");
        }
    }
}

#[test]
fn every_distance_is_judged_at_every_window() {
    // All of the short ones, some of the others, and those around the steps from code to code.
    let steps = DISTANCES.iter().flat_map(|least| [least - 1, *least, least + 1]).filter(|distance| *distance > 0);
    for distance in (1..600).chain((600..32_768).step_by(61)).chain([32_767, 32_768]).chain(steps) {
        let mut stream = Writer::default();
        stream.fixed(0).token(Token::Match { length: 3, distance }).end().align();
        for window_bits in 8..=15 {
            let expected = if u32::from(distance) > 1 << window_bits { Err(TooFar) } else { Ok(()) };
            assert_eq!(Distances::new(window_bits).check(&stream.bytes), expected, "{window_bits} {distance}");
        }
    }
}

#[test]
fn a_distance_is_too_far_once_its_code_is_in() {
    let mut stream = Writer::default();
    // Three bits of head, seven of the length's code, five of the distance's: one bit short of two bytes.
    stream.fixed(0).token(Token::Match { length: 3, distance: 32_768 });
    assert_eq!(stream.distances, [(15, 32_768)]);
    let mut scanner = Distances::new(14);
    assert_eq!(scanner.check(&stream.bytes[..1]), Ok(()));
    assert_eq!(scanner.check(&stream.bytes[1..2]), Err(TooFar));
}

#[test]
fn an_error_stays_until_a_reset() {
    let mut far = Writer::default();
    far.fixed(0).token(Token::Match { length: 3, distance: 257 }).end().align();
    let mut scanner = Distances::new(8);
    for bytes in [&far.bytes[..], b"", b"\xff"] {
        assert_eq!(scanner.check(bytes), Err(TooFar));
    }
    scanner.reset();
    assert_eq!(scanner.check(b""), Ok(()));
    assert_eq!(scanner.check(&far.bytes), Err(TooFar));
    // Lost: the same bytes are not looked at.
    scanner.reset();
    assert_eq!(scanner.check(&[0b111]), Ok(()));
    assert_eq!(scanner.check(&far.bytes), Ok(()));
}

#[test]
fn the_state_is_small() {
    assert!(size_of::<Distances>() <= 1600, "{}", size_of::<Distances>());
}

// ---- Blocks ----------------------------------------------------------------------------------------------------------------

/// Something behind a part of a stream that shows whether the scanner is in step.
fn assert_in_step(part: &mut Writer) {
    part.fixed(0).token(Token::Match { length: 3, distance: 256 }).token(Token::Match { length: 258, distance: 257 });
    let expected = first_too_far(&part.distances, 8);
    part.align();
    assert_eq!(bytewise(8, &part.bytes), (expected, false));
    assert!(Distances::new(8).check(&part.bytes).is_err());
}

#[test]
fn stored_blocks_are_skipped() {
    for len in [0, 1, 2, 5, 6, 7, 8, 9, 100, 65_535] {
        let mut stream = Writer::default();
        // Bytes that would be matches if they were looked at.
        assert_in_step(stream.stored(0, &vec![0xa5; len]).stored(0, b"").stored(0, &vec![0x5a; len]));
    }
}

#[test]
fn a_stored_block_whose_length_is_not_confirmed_is_lost() {
    assert_eq!(bytewise(8, b"\x00\x01\x00\xfe\xfe"), (None, true));
    assert_eq!(bytewise(8, b"\x00\x01\x00\xfe\xff"), (None, false));
}

#[test]
fn a_reserved_block_is_lost() {
    assert_eq!(bytewise(8, b"\x07"), (None, true));
    assert_eq!(bytewise(8, b"\x06"), (None, true));
}

#[test]
fn a_new_stream_begins_at_the_byte_behind_a_final_block() {
    let mut stream = Writer::default();
    assert_in_step(stream.stored(1, b"abc"));
    for literals in 0..16 {
        let mut stream = Writer::default();
        stream.fixed(1);
        for _ in 0..literals {
            stream.token(Token::Literal(200));
        }
        assert_in_step(stream.end().align().stored(1, b"").fixed(1).end().align());
    }
    // The end of RFC 7692 section 7.2.3.4's example, and what an endpoint adds to each message.
    let mut scanner = Distances::new(8);
    for _ in 0..3 {
        assert_eq!(scanner.check(b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00\x00\x00\xff\xff"), Ok(()));
        assert_eq!((scanner.state, scanner.held), (State::Block, 0));
    }
}

#[test]
fn a_distance_code_of_one_bit_or_none_is_followed() {
    let mut literals = [0; 286];
    (literals[0], literals[256], literals[257]) = (2, 2, 1);
    // One code: distance symbol 16, which is 257 and more.
    let mut one = [0; 17];
    one[16] = 1;
    let mut stream = Writer::default();
    stream.dynamic(0, &literals, &one).token(Token::Literal(0)).token(Token::Match { length: 3, distance: 257 });
    assert_eq!(bytewise(9, &stream.bytes), (None, false));
    assert_eq!(bytewise(8, &stream.bytes), (first_too_far(&stream.distances, 8), false));
    // The other bit is no code.
    let mut stream = Writer::default();
    stream.dynamic(0, &literals, &one).code((1, 0)).bits(1, 1);
    assert_eq!(bytewise(8, &stream.bytes), (None, true));
    // None at all: literals only.
    let mut stream = Writer::default();
    assert_in_step(stream.dynamic(0, &literals, &[0]).token(Token::Literal(0)).end());
    let mut stream = Writer::default();
    stream.dynamic(0, &literals, &[0]).code((1, 0)).bits(0, 1);
    assert_eq!(bytewise(8, &stream.bytes), (None, true));
    // The end of the block as the only code of literals.
    let mut end = [0; 257];
    end[256] = 1;
    let mut stream = Writer::default();
    assert_in_step(stream.dynamic(0, &end, &[0]).end());
    let mut stream = Writer::default();
    stream.dynamic(0, &end, &[0]).bits(1, 1);
    assert_eq!(bytewise(8, &stream.bytes), (None, true));
}

#[test]
fn codes_that_are_not_complete_are_lost() {
    let code = |symbols: &[(usize, u8)], of: usize| {
        let mut lengths = vec![0; of];
        symbols.iter().for_each(|(symbol, len)| lengths[*symbol] = *len);
        lengths
    };
    let sound = code(&[(0, 1), (256, 1)], 257);
    for (literals, distances) in [
        (code(&[(0, 1), (256, 2)], 257), vec![0]), // incomplete
        (code(&[(0, 2), (256, 2)], 257), vec![0]),
        (code(&[(256, 2)], 257), vec![0]),                 // one code, but of two bits
        (code(&[(0, 1), (1, 1), (256, 1)], 257), vec![0]), // over-subscribed
        (code(&[(0, 1), (1, 15), (2, 15), (256, 1)], 257), vec![0]), // in the last lengths only
        (vec![15; 286], vec![0]),
        (code(&[(0, 1), (1, 1)], 257), vec![0]), // no end of the block
        (vec![0; 257], vec![0]),
        (sound.clone(), vec![1, 2]),
        (sound.clone(), vec![2]),
        (sound.clone(), vec![1, 1, 1]),
        (sound.clone(), vec![15; 30]),
        (sound.clone(), vec![1; 30]),
        (vec![8; 287], vec![0]), // more symbols than there are
        (sound.clone(), vec![0; 31]),
        (sound.clone(), vec![0; 32]),
    ] {
        let mut stream = Writer::default();
        stream.dynamic(0, &literals, &distances);
        assert_eq!(inflated(&stream.bytes), Inflated::Malformed);
        assert_eq!(bytewise(8, &stream.bytes), (None, true), "{literals:?} {distances:?}");
    }
    assert_in_step(Writer::default().dynamic(0, &sound, &[1, 1]).end());
}

#[test]
fn code_lengths_that_make_no_sense_are_lost() {
    // Of symbols 16, 17, 18 and 0 in this order; the others have none.
    let with = |lengths: [u16; 4]| {
        let mut stream = Writer::default();
        stream.counts(0, 257, 1);
        lengths.iter().chain(&[0; 15]).for_each(|length| _ = stream.bits(*length, 3));
        stream
    };
    // Incomplete, over-subscribed, empty.
    for lengths in [[1, 2, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0]] {
        assert_eq!(bytewise(8, &with(lengths).bytes), (None, true), "{lengths:?}");
    }
    // Nothing there to repeat.
    let mut stream = with([1, 0, 1, 0]);
    stream.code((1, 0)).bits(0, 2);
    assert_eq!(bytewise(8, &stream.bytes), (None, true));
}

#[test]
fn a_length_repeats_across_both_codes_and_not_beyond() {
    for (repeat, is_lost) in [(0, false), (1, true)] {
        let mut stream = Writer::default();
        stream.counts(0, 258, 2);
        for symbol in [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15] {
            stream.bits(if matches!(symbol, 0 | 1 | 16 | 18) { 2 } else { 0 }, 3);
        }
        // 138 and 118 zeros; a one for the end of the block, and three times the same for a length and two distances.
        stream.code((2, 3)).bits(127, 7).code((2, 3)).bits(107, 7).code((2, 1)).code((2, 2)).bits(repeat, 2);
        if is_lost {
            assert_eq!(bytewise(8, &stream.bytes), (None, true));
        } else {
            assert_in_step(stream.code((1, 0)));
        }
    }
}

#[test]
fn symbols_that_nothing_has_are_lost() {
    for symbol in [286, 287] {
        let mut stream = Writer::default();
        stream.fixed(0).code(canonical(&fixed_lengths().0)[symbol]);
        assert_eq!(bytewise(8, &stream.bytes), (None, true));
    }
    for symbol in [30, 31] {
        let mut stream = Writer::default();
        stream.fixed(0).code((7, 1)).code((5, symbol));
        assert_eq!(bytewise(8, &stream.bytes), (None, true));
    }
}

// ---- Properties ------------------------------------------------------------------------------------------------------------

/// Bytes with repetitions at all distances up to 2^15 and more.
fn compressible() -> impl Strategy<Value = Vec<u8>> {
    let part =
        (any::<u64>(), prop_oneof![4 => 1usize..400, 1 => 1usize..20_000], 1u64..256, any::<prop::sample::Index>());
    prop::collection::vec(part, 1..12).prop_map(|parts| {
        let mut bytes: Vec<u8> = vec![];
        for (seed, len, letters, at) in parts {
            if seed % 3 > 0 && !bytes.is_empty() {
                let at = at.index(bytes.len());
                let again = bytes[at..bytes.len().min(at + len)].to_vec();
                bytes.extend(again);
            } else {
                let mut random = seed | 1;
                bytes.extend((0..len).map(|_| {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    (random % letters) as u8
                }));
            }
        }
        bytes
    })
}

/// A stream of zlib-rs, flushed here and there, and what it is a stream of.
fn deflated() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let config = (
        1i32..=9,
        prop::sample::select(
            &[Matching::Default, Matching::Filtered, Matching::HuffmanOnly, Matching::Rle, Matching::Fixed][..],
        ),
        9i32..=15,
        1i32..=9,
    );
    let flush = prop::sample::select(
        &[DeflateFlush::NoFlush, DeflateFlush::PartialFlush, DeflateFlush::SyncFlush, DeflateFlush::FullFlush][..],
    );
    let last = prop::sample::select(&[DeflateFlush::SyncFlush, DeflateFlush::Finish][..]);
    let cuts = prop::collection::vec((any::<prop::sample::Index>(), flush), 0..6);
    (config, compressible(), cuts, last).prop_map(|((level, strategy, window_bits, mem_level), plain, cuts, last)| {
        let config =
            DeflateConfig { level, strategy, window_bits: -window_bits, mem_level, ..DeflateConfig::default() };
        let mut deflate = zlib_rs::Deflate::new_with_config(config);
        let mut cuts: Vec<_> = cuts.into_iter().map(|(at, flush)| (at.index(plain.len()), flush)).collect();
        cuts.sort_by_key(|(at, _)| *at);
        cuts.push((plain.len(), last));
        let mut stream = vec![0; 2 * plain.len() + 1000];
        for (to, flush) in cuts {
            let from = deflate.total_in() as usize;
            let at = deflate.total_out() as usize;
            deflate.compress(&plain[from..to], &mut stream[at..], flush).unwrap();
            assert_eq!(deflate.total_in() as usize, to);
        }
        stream.truncate(deflate.total_out() as usize);
        (stream, plain)
    })
}

/// The lengths of a complete code for `symbols` of `of`: leaves of a tree that grew at random.
fn complete(of: usize, must: &'static [usize]) -> impl Strategy<Value = Vec<u8>> {
    (prop::collection::vec(any::<prop::sample::Index>(), 1..of), prop::collection::vec(any::<u32>(), of), any::<bool>())
        .prop_map(move |(splits, order, is_deep)| {
            let mut leaves = vec![0_u8];
            for at in splits.into_iter().take(of - 1) {
                // Deep trees: the last leaf is among the deepest.
                let at = if is_deep { leaves.len() - 1 } else { at.index(leaves.len()) };
                let Some(at) = (at..leaves.len()).chain(0..at).find(|at| leaves[*at] < 15) else { break };
                leaves[at] += 1;
                leaves.push(leaves[at]);
            }
            // A single leaf of no bits is no code.
            let mut symbols: Vec<usize> = (0..of).collect();
            symbols.sort_by_key(|symbol| (!must.contains(symbol), order[*symbol]));
            let mut lengths = vec![0; of];
            symbols
                .into_iter()
                .zip(leaves.into_iter().filter(|len| *len > 0))
                .for_each(|(symbol, len)| lengths[symbol] = len);
            lengths
        })
}

/// A stream by hand, of blocks of every kind with any codes, that an inflater takes whole.
fn handmade() -> impl Strategy<Value = (Vec<u8>, Vec<(usize, u16)>)> {
    let near = (0u32..16, -2i32..3).prop_map(|(bits, by)| ((1 << bits) + by).clamp(1, 1 << 15) as u16);
    let token = prop_oneof![
        any::<u8>().prop_map(Token::Literal),
        (3u16..=258, prop_oneof![near, 1u16..=1 << 15])
            .prop_map(|(length, distance)| Token::Match { length, distance }),
    ];
    let block = (
        0..4,
        prop::bool::weighted(0.1),
        complete(286, &[256, 0]),
        complete(30, &[0]),
        prop::collection::vec(token, 0..60),
    );
    prop::collection::vec(block, 1..4).prop_map(|blocks| {
        let mut stream = Writer::default();
        stream.full_window();
        for (kind, is_final, literals, distances, tokens) in blocks {
            match kind {
                0 => {
                    let bytes: Vec<u8> =
                        tokens.iter().map(|token| if let Token::Literal(byte) = token { *byte } else { 7 }).collect();
                    stream.stored(is_final.into(), &bytes);
                }
                1 => _ = stream.fixed(is_final.into()),
                _ => _ = stream.dynamic(is_final.into(), &literals, &distances),
            }
            if kind > 0 {
                for token in tokens {
                    let has_codes = match token {
                        Token::Literal(byte) => stream.literals[usize::from(byte)].0 > 0,
                        Token::Match { length, distance } => {
                            stream.literals[256 + LENGTHS.partition_point(|least| *least <= length)].0 > 0
                                && stream.distance_codes[DISTANCES.partition_point(|least| *least <= distance) - 1].0
                                    > 0
                        }
                    };
                    if has_codes {
                        stream.token(token);
                    }
                }
                stream.end();
            }
            if is_final {
                stream.align().full_window();
            }
        }
        stream.stored(0, b"");
        (stream.bytes, stream.distances)
    })
}

fn any_cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 0..8)
}

fn sorted(cuts: Vec<prop::sample::Index>, len: usize) -> Vec<usize> {
    let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.index(len + 1)).collect();
    cuts.sort_unstable();
    cuts
}

/// The scanner stops looking exactly where zlib-rs refuses, and neither sooner nor later.
fn assert_lost_where_zlib_refuses(bytes: &[u8]) {
    for to in 0..=bytes.len() {
        // With 15 nothing is too far.
        let mut scanner = Distances::new(15);
        assert_eq!(scanner.check(&bytes[..to]), Ok(()));
        let is_lost = scanner.state == State::Lost;
        match inflated(&bytes[..to]) {
            Inflated::Whole(_) if is_lost => {
                // A code for code lengths without any code is refused by zlib only after the lengths: one bit for each.
                let padded = [&bytes[..to], &[0; 40]].concat();
                assert_eq!(inflated(&padded), Inflated::Malformed, "{to}");
                return;
            }
            Inflated::Whole(_) => {}
            // What follows is another stream.
            Inflated::Ended(..) => return assert!(!is_lost, "{to}"),
            Inflated::TooFarBack => return,
            Inflated::Malformed => return assert!(is_lost, "{to}"),
        }
    }
}

proptest! {
    // A case is up to some tens of thousands of bytes, one at a time, for eight windows.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 4, ..ProptestConfig::default() })]

    #[test]
    fn d4_a_stream_of_zlib_is_too_far_exactly_at_its_first_distance_beyond_the_window(
        (stream, plain) in deflated(),
        cuts in any_cuts(),
    ) {
        let naive = Naive::read(&stream);
        prop_assert!(naive.output == plain);
        let cuts = sorted(cuts, stream.len());
        for window_bits in 8..=15 {
            let (too_far, is_lost) = bytewise(window_bits, &stream);
            prop_assert_eq!(too_far, first_too_far(&naive.distances, window_bits));
            prop_assert!(!is_lost);
            assert_any_cut_agrees(window_bits, &stream, &cuts);
        }
    }

    #[test]
    fn d4_a_stream_by_hand_is_too_far_exactly_at_its_first_distance_beyond_the_window(
        (stream, distances) in handmade(),
        cuts in any_cuts(),
    ) {
        // The stream is sound: zlib-rs takes all of it.
        let mut rest = &stream[..];
        while let Inflated::Ended(_, len) = inflated(rest) {
            rest = &rest[len..];
        }
        prop_assert!(matches!(inflated(rest), Inflated::Whole(_)));
        let cuts = sorted(cuts, stream.len());
        for window_bits in 8..=15 {
            let (too_far, is_lost) = bytewise(window_bits, &stream);
            prop_assert_eq!(too_far, first_too_far(&distances, window_bits));
            prop_assert!(!is_lost);
            assert_any_cut_agrees(window_bits, &stream, &cuts);
        }
    }

    #[test]
    fn any_bytes_are_judged_alike_at_any_cut(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        window_bits in 8u8..=15,
        cuts in any_cuts(),
    ) {
        assert_any_cut_agrees(window_bits, &bytes, &sorted(cuts, bytes.len()));
        assert_lost_where_zlib_refuses(&bytes);
    }

    #[test]
    fn a_damaged_stream_is_lost_where_zlib_refuses_it(
        (stream, _) in prop_oneof![
            deflated(),
            handmade().prop_map(|(bytes, _)| (bytes, vec![])),
        ],
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..4),
        window_bits in 8u8..=15,
        cuts in any_cuts(),
    ) {
        // Early in the stream: what is before is inflated again with each byte.
        let mut stream = stream;
        stream.truncate(400);
        for (at, bit) in damage {
            let at = at.index(stream.len());
            stream[at] ^= 1 << bit;
        }
        assert_any_cut_agrees(window_bits, &stream, &sorted(cuts, stream.len()));
        assert_lost_where_zlib_refuses(&stream);
    }

    #[test]
    fn any_code_lengths_are_taken_where_zlib_takes_them(
        mut literals in prop_oneof![complete(286, &[256]), prop::collection::vec(0u8..16, 257..=286)],
        mut distances in prop_oneof![complete(30, &[0]), prop::collection::vec(0u8..16, 1..=30)],
        change in prop::option::of((any::<prop::sample::Index>(), 0u8..16)),
        symbols in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        if let Some((at, len)) = change {
            let at = at.index(literals.len() + distances.len());
            *literals.iter_mut().chain(&mut distances).nth(at).unwrap() = len;
        }
        let mut stream = Writer::default();
        stream.dynamic(0, &literals, &distances);
        stream.align().bytes.extend(symbols);
        assert_lost_where_zlib_refuses(&stream.bytes);
    }
}
