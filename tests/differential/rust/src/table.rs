//! What implementations do with the frame rows of `docs/BAD_INPUTS.md`: the rows' bytes to each, and a table of the outcomes.

use crate::case::{
    BINARY, CLOSE, CONTINUATION, Case, End, FIN, Outcome, PING, PONG, Role, TEXT, header, masked, shortest,
};
use crate::compare::{Reader, Run};
use crate::deviations::Peer;
use crate::peers;

/// The limit on messages in all rows.
const LIMIT: u64 = 1000;

/// One row, or one of its bytes.
struct Row {
    id: &'static str,
    what: String,
    role: Role,
    bytes: Vec<u8>,
    limit: u64,
}

/// Prints the table.
pub fn print(run: &Run) -> Result<(), String> {
    // A panic of an implementation is an outcome.
    std::panic::set_hook(Box::new(|_| ()));
    let mut readers = [
        ("tautline", Reader::Here(peers::tautline_by_default)),
        ("wsproto", run.reader(Peer::Wsproto)?),
        ("websockets", run.reader(Peer::Websockets)?),
        ("ws", run.reader(Peer::Ws)?),
        ("tokio-websockets", Reader::Here(peers::tokio_websockets)),
        ("tungstenite", Reader::Here(peers::tungstenite)),
        ("fastwebsockets", Reader::Here(peers::fastwebsockets)),
    ];
    let names: Vec<&str> = readers.iter().map(|(name, _)| *name).collect();
    println!("| Id | Bytes | {} |", names.join(" | "));
    println!("|---|---|{}", "---|".repeat(names.len()));
    for row in rows() {
        let case = Case {
            role: row.role,
            limit: row.limit,
            fragments: 1024,
            deflate: None,
            bytes: row.bytes,
            cuts: Vec::new(),
        };
        let mut cells = Vec::new();
        for (_, reader) in &mut readers {
            cells.push(cell(&reader.read(&case)?));
        }
        println!("| {} | {} | {} |", row.id, row.what, cells.join(" | "));
    }
    Ok(())
}

/// An outcome in a few words.
fn cell(outcome: &Outcome) -> String {
    let mut parts: Vec<(String, usize)> = Vec::new();
    for event in &outcome.events {
        let (letter, payload) = event.split_once(':').expect("an event has a letter");
        let word = match letter {
            "t" if !is_utf8(payload) => "text that is not UTF-8",
            "t" => "text",
            "b" => "binary",
            "i" => "ping",
            _ => "pong",
        };
        match parts.last_mut() {
            Some((last, count)) if last == word => *count += 1,
            _ => parts.push((word.to_owned(), 1)),
        }
    }
    let mut words: Vec<String> =
        parts.into_iter().map(|(word, count)| if count == 1 { word } else { format!("{count} {word}s") }).collect();
    match &outcome.end {
        End::Open if words.is_empty() => words.push("waits".into()),
        End::Open => {}
        End::Failed(Some(code)) => words.push(code.to_string()),
        End::Failed(None) => words.push("error, no Close".into()),
        End::Peer { code, echo: None, .. } => words.push(format!("closed {code}")),
        End::Peer { code, echo: Some(0), .. } => words.push(format!("closed {code}, echo empty")),
        End::Peer { code, echo: Some(echo), .. } => words.push(format!("closed {code}, echo {echo}")),
        End::Crash(what) => words.push(format!("crash: {what}")),
    }
    words.join(", ")
}

/// Whether a short payload, in hex, is UTF-8. A long one is taken to be.
fn is_utf8(payload: &str) -> bool {
    let bytes: Option<Vec<u8>> =
        payload.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
    bytes.is_none_or(|bytes| std::str::from_utf8(&bytes).is_ok())
}

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn frame(role: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    let key = (role == Role::Server).then_some(KEY);
    let len = payload.len() as u64;
    [header(first, len, shortest(len), key), masked(payload, key)].concat()
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |id, what: &str, bytes: &[&[u8]]| {
        rows.push(Row { id, what: what.to_owned(), role: Role::Server, bytes: bytes.concat(), limit: LIMIT });
    };
    let to_server = |first: u8, payload: &[u8]| frame(Role::Server, first, payload);
    let begun = |len: u64, wide: usize| header(FIN | BINARY, len, wide, Some(KEY));
    let (text, end) = (to_server(FIN | TEXT, b"next"), to_server(FIN | CONTINUATION, b"end"));
    let close = |payload: &[u8]| to_server(FIN | CLOSE, payload);

    add("F1", "unmasked text to a server", &[&frame(Role::Client, FIN | TEXT, b"x")]);
    for (what, bit) in [("RSV1", 0x40), ("RSV2", 0x20), ("RSV3", 0x10)] {
        add("F3", what, &[&to_server(FIN | bit | TEXT, b"x")]);
    }
    add("F3", "RSV1 on a ping", &[&to_server(FIN | 0x40 | PING, b"x")]);
    for opcode in [3, 7, 11, 15] {
        add("F5", &format!("opcode {opcode}, two bytes"), &[&[FIN | opcode, 0x80]]);
    }
    add("F6", "64-bit length with its top bit set", &[&begun(1 << 63, 8)]);
    add("F7", "length 2^63−1, header alone", &[&begun(i64::MAX as u64, 8)]);
    add("F8", "length = limit", &[&to_server(FIN | BINARY, &[0; LIMIT as usize])]);
    add("F8", "length = limit + 1, header alone", &[&begun(LIMIT + 1, 2)]);
    add("F8", "length = limit + 1, whole", &[&to_server(FIN | BINARY, &[0; LIMIT as usize + 1])]);
    add("F8", "a length of 5 in 16 bits", &[&header(FIN | BINARY, 5, 2, Some(KEY)), &masked(b"hello", Some(KEY))]);
    add("F8", "a length of 126 in 64 bits", &[&header(FIN | BINARY, 126, 8, Some(KEY)), &[0; 126]]);
    for (what, opcode) in [("ping", PING), ("pong", PONG), ("Close", CLOSE)] {
        add("F10", &format!("{what} without FIN"), &[&to_server(opcode, &1000u16.to_be_bytes())]);
    }
    for (what, opcode) in [("ping", PING), ("pong", PONG), ("Close", CLOSE)] {
        let payload = [&1000u16.to_be_bytes()[..], &[b'x'; 124]].concat();
        add("F11", &format!("{what} of 126 bytes"), &[&to_server(FIN | opcode, &payload)]);
    }
    add("F12", "continuation of nothing", &[&end]);
    add("F12", "continuation behind a whole message", &[&text, &end]);
    add("F13", "text inside a fragmented text", &[&to_server(TEXT, b"a"), &text, &end]);
    add("F14", "ping between fragments", &[&to_server(TEXT, b"a"), &to_server(FIN | PING, b"p"), &end]);
    add("F15", "text behind a Close frame", &[&close(&1000u16.to_be_bytes()), &text]);
    add("F16", "two Close frames", &[&close(&1000u16.to_be_bytes()), &close(&1001u16.to_be_bytes())]);
    let half = [0; LIMIT as usize / 2];
    add("F18", "fragments that sum to the limit", &[&to_server(BINARY, &half), &to_server(FIN, &half)]);
    add(
        "F18",
        "fragments that sum to the limit + 1",
        &[&to_server(BINARY, &half), &to_server(0, &half), &to_server(FIN, b"x")],
    );
    add(
        "F19",
        "1,025 empty fragments",
        &[&to_server(TEXT, b""), &to_server(0, b"").repeat(1023), &to_server(FIN, b"")],
    );
    add(
        "F20",
        "an empty fragment between, an empty one at the end",
        &[&to_server(TEXT, b"a"), &to_server(0, b""), &to_server(FIN, b"")],
    );
    add("F21", "mask key 0", &[&header(FIN | TEXT, 1, 0, Some([0; 4])), b"x"]);

    add("U1", "a bad byte in the first fragment", &[&to_server(TEXT, b"a\xff")]);
    add("U1", "a bad byte in the first half of a frame", &[&to_server(FIN | TEXT, b"a\xffbcdefgh")[..9]]);
    add("U2", "a character split over fragments", &[&to_server(TEXT, b"\xe6\xbc"), &to_server(FIN, b"\xa2")]);
    add("U3", "the end inside a character", &[&to_server(FIN | TEXT, b"a\xe6\xbc")]);
    add("U3", "the same, then an empty last fragment", &[&to_server(TEXT, b"a\xe6\xbc"), &to_server(FIN, b"")]);
    for bad in [&b"\xc0\x80"[..], b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80"] {
        let name: Vec<String> = bad.iter().map(|byte| format!("{byte:02X}")).collect();
        add("U4", &format!("`{}`", name.join(" ")), &[&to_server(FIN | TEXT, bad)]);
    }
    add("U6", "a text that starts with a BOM", &[&to_server(FIN | TEXT, b"\xef\xbb\xbfx")]);

    add("C1", "Close of one byte", &[&close(b"\x03")]);
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000] {
        add("C2", &format!("Close {code}"), &[&close(&code.to_be_bytes())]);
    }
    for code in [1000u16, 1003, 1007, 1012, 1014, 3000, 4999] {
        add("C3", &format!("Close {code}"), &[&close(&code.to_be_bytes())]);
    }
    add("C3", "Close 1000 inside a fragmented message", &[&to_server(TEXT, b"a"), &close(&1000u16.to_be_bytes())]);
    add("C4", "Close 1000 with a reason that is not UTF-8", &[&close(b"\x03\xe8\xff")]);
    add("C6", "an empty Close", &[&close(b"")]);

    add("K1", "10 pings in one read", &[&to_server(FIN | PING, b"p").repeat(10)]);
    add("K2", "2,000 pings in one read", &[&to_server(FIN | PING, b"p").repeat(2000)]);
    add("K3", "a pong that nobody asked for", &[&to_server(FIN | PONG, b"p")]);

    let masked_to_client = frame(Role::Server, FIN | TEXT, b"x");
    rows.insert(
        1,
        Row {
            id: "F2",
            what: "masked text to a client".into(),
            role: Role::Client,
            bytes: masked_to_client,
            limit: LIMIT,
        },
    );
    rows
}
