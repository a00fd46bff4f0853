//! Heads: what is read from them, what is refused and how, and that the cut of the bytes changes nothing.

use proptest::prelude::*;
use tautline::Input;
use tautline::http::{
    Framing, HeadError, HeadLimits, RequestHead, RequestReader, ResponseHead, ResponseReader, Version,
};

/// Reads one request head from `bytes` cut into pieces of `piece` bytes, as text that names everything in it, and what is left.
fn request(bytes: &[u8], piece: usize) -> (Result<Option<String>, HeadError>, usize) {
    let limits = HeadLimits::default();
    let mut reader = RequestReader::new();
    let mut left = bytes.len();
    for piece in bytes.to_vec().chunks_mut(piece) {
        let mut input = Input::new(piece);
        let outcome = reader.read(&limits, &mut input).map(|head| head.map(|head| describe_request(&head)));
        left -= input.taken();
        match outcome {
            Ok(None) => assert!(input.is_empty()),
            // An error takes nothing of the piece that it is found in, and pieces differ.
            Err(e) => return (Err(e), 0),
            done => return (done, left),
        }
    }
    (Ok(None), left)
}

fn describe_request(head: &RequestHead<'_>) -> String {
    format!("{} {} {:?} {:?} {}", head.method(), head.target(), head.version(), head.framing(), fields(head.headers()))
}

fn describe_response(head: &ResponseHead<'_>) -> String {
    format!("{} {:?} {:?} {}", head.status(), head.reason(), head.version(), fields(head.headers()))
}

fn fields(headers: tautline::http::Headers<'_>) -> String {
    headers.iter().map(|(name, value)| format!("{name}={}|", value.escape_ascii())).collect()
}

fn response(bytes: &[u8], piece: usize) -> (Result<Option<String>, HeadError>, usize) {
    let limits = HeadLimits::default();
    let mut reader = ResponseReader::new();
    let mut left = bytes.len();
    for piece in bytes.to_vec().chunks_mut(piece) {
        let mut input = Input::new(piece);
        let outcome = reader.read(&limits, &mut input).map(|head| head.map(|head| describe_response(&head)));
        left -= input.taken();
        match outcome {
            Ok(None) => assert!(input.is_empty()),
            // An error takes nothing of the piece that it is found in, and pieces differ.
            Err(e) => return (Err(e), 0),
            done => return (done, left),
        }
    }
    (Ok(None), left)
}

/// The refusal of a request, the same whole and byte by byte.
fn refused(bytes: impl AsRef<[u8]>) -> HeadError {
    let bytes = bytes.as_ref();
    let whole = request(bytes, usize::MAX).0.expect_err(&bytes.escape_ascii().to_string());
    assert_eq!(request(bytes, 1).0, Err(whole), "{}", bytes.escape_ascii());
    whole
}

fn with_header(line: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n")
}

#[test]
fn everything_in_a_request_head_is_readable() {
    let mut bytes =
        *b"POST /a%20b/c?topic=x&q=%C3%A9+1 HTTP/1.1\r\nHost: example.com:8080\r\nX-A:  one \r\nx-a:two\r\n\
        X-Latin: \xe9\r\nEmpty:\r\nContent-Length: 12\r\n\r\nbody and more";
    let mut input = Input::new(&mut bytes);
    let head = RequestReader::new().read(&HeadLimits::default(), &mut input).unwrap().unwrap();
    assert_eq!((head.method(), head.target()), ("POST", "/a%20b/c?topic=x&q=%C3%A9+1"));
    assert_eq!((head.path(), head.raw_query()), ("/a%20b/c", Some("topic=x&q=%C3%A9+1")));
    assert_eq!(head.decoded_path().unwrap(), "/a b/c");
    assert_eq!(head.query().get("q").unwrap().unwrap(), "é 1");
    assert_eq!((head.version(), head.framing()), (Version::Http11, Framing::Length(12)));
    assert_eq!(head.authority(), Some("example.com:8080"));
    let headers = head.headers();
    assert_eq!(headers.len(), 6);
    assert_eq!(headers.get("x-A"), Some(&b"one"[..]));
    assert_eq!(headers.all("X-a").collect::<Vec<_>>(), [b"one", b"two"]);
    assert_eq!(headers.get("empty"), Some(&b""[..]));
    assert_eq!(headers.get("x-latin"), Some(&b"\xe9"[..]));
    assert_eq!(headers.get("none"), None);
    assert_eq!(headers.iter().next(), Some(("Host", &b"example.com:8080"[..])));
    assert!(head.keeps_alive());
    assert_eq!(input.rest(), b"body and more");
}

#[test]
fn everything_in_a_response_head_is_readable() {
    let mut bytes = *b"HTTP/1.1 404 N\xf6t Found\r\nConnection: x, Close\r\nTransfer-Encoding: chunked\r\n\r\n0";
    let mut input = Input::new(&mut bytes);
    let head = ResponseReader::new().read(&HeadLimits::default(), &mut input).unwrap().unwrap();
    assert_eq!((head.status(), head.reason()), (404, &b"N\xf6t Found"[..]));
    assert_eq!((head.framing("GET"), head.framing("HEAD")), (Framing::Chunked, Framing::None));
    assert!(!head.keeps_alive());
    assert_eq!(input.rest(), b"0");
    for (line, reason) in [("HTTP/1.1 200", ""), ("HTTP/1.0 200 ", ""), ("HTTP/1.1 200 OK then", "OK then")] {
        for fields in ["", "a: b\r\n"] {
            let mut bytes = format!("{line}\r\n{fields}\r\n").into_bytes();
            let mut input = Input::new(&mut bytes);
            let head = ResponseReader::new().read(&HeadLimits::default(), &mut input).unwrap().unwrap();
            assert_eq!(head.reason(), reason.as_bytes());
            assert_eq!(head.framing("GET"), Framing::UntilClose);
        }
    }
}

#[test]
fn responses_that_have_no_body_by_status_have_none() {
    for status in [100, 101, 199, 204, 304] {
        let mut bytes = format!("HTTP/1.1 {status} x\r\nContent-Length: 5\r\n\r\n").into_bytes();
        let mut input = Input::new(&mut bytes);
        let head = ResponseReader::new().read(&HeadLimits::default(), &mut input).unwrap().unwrap();
        assert_eq!(head.framing("GET"), Framing::None);
    }
}

#[test]
fn the_four_target_forms_are_told_apart() {
    let read = |line: &str| {
        let mut bytes = format!("{line} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes();
        let mut input = Input::new(&mut bytes);
        RequestReader::new()
            .read(&HeadLimits::default(), &mut input)
            .map(|head| head.map(|head| (head.path().to_string(), head.authority().unwrap().to_string())).unwrap())
    };
    let ok = |path: &str, authority: &str| Ok((path.to_string(), authority.to_string()));
    assert_eq!(read("GET /p?http://x/"), ok("/p", "h"));
    assert_eq!(read("GET http://x:80/p?q"), ok("/p", "x:80"));
    assert_eq!(read("GET HTTP://x?q"), ok("/", "x"));
    assert_eq!(read("OPTIONS *"), ok("*", "h"));
    assert_eq!(read("CONNECT x:443"), ok("x:443", "h"));
    for bad in ["GET *", "GET p", "GET ://x/", "GET http://", "GET http://a@b/", "CONNECT x", "GET ?q", "OPTIONS **"] {
        assert_eq!(read(bad), Err(HeadError::RequestLine), "{bad}");
    }
}

#[test]
fn persistence_follows_version_and_connection_field() {
    for (version, connection, keeps) in [
        ("1.1", "Keep-Alive", true),
        ("1.1", "upgrade", true),
        ("1.1", "upgrade , CLOSE", false),
        ("1.1", "closed", true),
        ("1.0", "x", false),
        ("1.0", "keep-alive", true),
        ("1.0", "keep-alive, close", false),
    ] {
        let mut bytes = format!("GET / HTTP/{version}\r\nHost: h\r\nConnection: {connection}\r\n\r\n").into_bytes();
        let mut input = Input::new(&mut bytes);
        let head = RequestReader::new().read(&HeadLimits::default(), &mut input).unwrap().unwrap();
        assert_eq!(head.keeps_alive(), keeps, "{version} {connection}");
    }
}

/// Names are told apart by their length first, modulo 32.
#[test]
fn a_name_that_is_longer_by_32_is_another_name() {
    let pad = "x".repeat(32);
    for name in ["host", "content-length", "transfer-encoding"] {
        for other in [format!("{name}{pad}"), format!("{pad}{name}"), format!("{pad}{pad}{name}")] {
            let head = format!("GET / HTTP/1.1\r\nhost: a\r\n{other}: ?\r\n\r\n");
            let read = Ok(Some(format!("GET / Http11 None host=a|{other}=?|")));
            assert_eq!(request(head.as_bytes(), head.len()), (read, 0));
            assert_eq!(refused(format!("GET / HTTP/1.1\r\n{other}: a\r\n\r\n")), HeadError::HostMissing);
        }
    }
}

#[test]
fn h3_host_stands_exactly_once() {
    assert_eq!(refused("GET / HTTP/1.1\r\n\r\n"), HeadError::HostMissing);
    assert_eq!(refused("GET / HTTP/1.1\r\nHostt: a\r\nHos: a\r\n\r\n"), HeadError::HostMissing);
    assert_eq!(refused("GET / HTTP/1.1\r\nHost: a\r\nHOST: a\r\n\r\n"), HeadError::HostRepeated);
    assert_eq!(refused("GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n"), HeadError::HostRepeated);
    assert!(request(b"GET / HTTP/1.0\r\n\r\n", 1).0.unwrap().is_some());
    for host in
        ["a b", "a/b", "a,b", "u@a", "a:b", "a:123456", "[::1", "[]", "[::g]", "[::1]x", "a?", "a#", "\u{e9}", "a\\b"]
    {
        assert_eq!(refused(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")), HeadError::HostInvalid, "{host}");
    }
    for host in ["a", "a.b:80", "127.0.0.1:", "[::1]", "[::ffff:1.2.3.4]:8080", "xn--a", "a_b", ""] {
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert!(request(head.as_bytes(), 1).0.unwrap().is_some(), "{host}");
    }
}

#[test]
fn h21_a_fragment_in_a_target_is_400_in_every_form() {
    for line in
        ["GET /#", "GET /a#/../b", "GET /a?b#c", "GET http://a/b#c", "GET http://a#", "OPTIONS *#", "CONNECT a:1#"]
    {
        assert_eq!(refused(format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n")), HeadError::RequestLine, "{line}");
    }
}

#[test]
fn h21_connect_takes_a_host_with_a_port_and_nothing_else() {
    for good in ["a:1", "a:65535", "[::1]:443", "example.com:00080"] {
        let head = format!("CONNECT {good} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(request(head.as_bytes(), 1).0.unwrap().is_some(), "{good}");
    }
    for bad in [
        "/",
        "/admin",
        "*",
        "http://a:1/",
        "a",
        "a:",
        "a:0",
        "a:65536",
        "a:99999",
        "a:+1",
        ":80",
        "u@a:80",
        "a:1/",
        "a:b:1",
    ] {
        let head = format!("CONNECT {bad} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(refused(head), HeadError::RequestLine, "{bad}");
    }
}

#[test]
fn h21_a_port_above_65535_is_400_wherever_it_stands() {
    for good in ["http://a:65535/", "http://a:/", "http://[::1]:65535"] {
        let head = format!("GET {good} HTTP/1.1\r\nHost: a:65535\r\n\r\n");
        assert!(request(head.as_bytes(), 1).0.unwrap().is_some(), "{good}");
    }
    for bad in ["http://a:65536/", "http://a:99999", "http://a:000080/", "http://[::1]:65536/?q", "http://:80/"] {
        assert_eq!(refused(format!("GET {bad} HTTP/1.1\r\nHost: a\r\n\r\n")), HeadError::RequestLine, "{bad}");
    }
    for bad in ["a:65536", "[::1]:99999"] {
        assert_eq!(refused(format!("GET / HTTP/1.1\r\nHost: {bad}\r\n\r\n")), HeadError::HostInvalid, "{bad}");
    }
}

#[test]
fn a_refusal_names_the_cap_that_stood_in_the_way() {
    let limits = HeadLimits { bytes: usize::MAX, headers: usize::MAX, request_line: usize::MAX };
    let refused = |mut bytes: Vec<u8>| RequestReader::new().read(&limits, &mut Input::new(&mut bytes)).unwrap_err();
    let mut head = b"GET / HTTP/1.1\r\nHost: a\r\nx: ".to_vec();
    head.resize(70_000, b'x');
    assert_eq!(refused(head).to_string(), "head of more than 65535 bytes");
    let head = [&b"GET / HTTP/1.1\r\n"[..], &b"x:\r\n".repeat(100)].concat();
    assert_eq!(refused(head).to_string(), "more than 64 header fields");
    assert_eq!(refused(vec![b'x'; 70_000]).to_string(), "request line of more than 65535 octets");
}

#[test]
fn the_tiniest_caps_judge_the_same_at_any_cut() {
    fn verdict(bytes: &[u8], piece: usize, mut read: impl FnMut(&mut Input<'_>) -> Result<bool, HeadError>) -> String {
        for piece in bytes.to_vec().chunks_mut(piece) {
            match read(&mut Input::new(piece)) {
                Ok(false) => {}
                done => return format!("{done:?}"),
            }
        }
        "more".into()
    }
    let heads = [
        "GET / HTTP/1.0\r\n\r\n",
        "\r\nGET / HTTP/1.0\r\n\r\n",
        "\r\n\r\n\r\n",
        "\rX",
        "\n",
        "G\n",
        "G\r\n",
        "GE\r\r\n",
        "HTTP/1.1 200\r\n\r\n",
        "HTTP/1.1 200\r\nx: y\r\n\r\n",
        "H\nT",
    ];
    for bytes in 0..24 {
        for (headers, request_line) in [(64, 8000), (0, 8000), (64, 0), (1, 1), (0, 2)] {
            let limits = HeadLimits { bytes, headers, request_line };
            for head in heads.map(str::as_bytes) {
                let request = |piece| {
                    let mut reader = RequestReader::new();
                    verdict(head, piece, |input| reader.read(&limits, input).map(|head| head.is_some()))
                };
                let response = |piece| {
                    let mut reader = ResponseReader::new();
                    verdict(head, piece, |input| reader.read(&limits, input).map(|head| head.is_some()))
                };
                for piece in 1..8 {
                    assert_eq!(request(piece), request(usize::MAX), "{} {limits:?}", head.escape_ascii());
                    assert_eq!(response(piece), response(usize::MAX), "{} {limits:?}", head.escape_ascii());
                }
            }
        }
    }
    // The least cap lets the shortest head there is through.
    let limits = HeadLimits { bytes: 0, ..HeadLimits::default() };
    let mut shortest = *b"HTTP/1.1 200\r\n\r\n";
    assert_eq!(shortest.len(), tautline::http::head::MIN_HEAD);
    assert!(ResponseReader::new().read(&limits, &mut Input::new(&mut shortest)).unwrap().is_some());
}

#[test]
fn h8_a_head_without_end_is_431_at_the_cap() {
    let mut head = b"GET / HTTP/1.1\r\nHost: a\r\nx: ".to_vec();
    head.resize(8192, b'y');
    assert_eq!(request(&head, 8192).0, Ok(None));
    head.push(b'y');
    assert_eq!(refused(&head), HeadError::TooLong { limit: 8192 });
    assert_eq!(HeadError::TooLong { limit: 8192 }.status(), 431);
    // An end beyond the cap is none.
    head.extend_from_slice(b"\r\n\r\n");
    assert_eq!(refused(&head), HeadError::TooLong { limit: 8192 });
    // The longest that is allowed.
    head.truncate(8188);
    head.extend_from_slice(b"\r\n\r\n");
    assert!(matches!(request(&head, usize::MAX), (Ok(Some(_)), 0)));
    assert!(matches!(request(&head, 1), (Ok(Some(_)), 0)));
    head.insert(30, b'y');
    assert_eq!(refused(&head), HeadError::TooLong { limit: 8192 });
}

#[test]
fn h10_65_headers_are_431() {
    let head = |count: usize| {
        format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", (1..count).map(|i| format!("x{i}: y\r\n")).collect::<String>())
    };
    assert!(request(head(64).as_bytes(), 1).0.unwrap().is_some());
    assert!(request(head(64).as_bytes(), 9999).0.unwrap().is_some());
    assert_eq!(refused(head(65)), HeadError::TooManyHeaders { limit: 64 });
    assert_eq!(HeadError::TooManyHeaders { limit: 64 }.status(), 431);
    // As soon as the 65th is in, not at the end of the head.
    let endless = head(65);
    assert_eq!(refused(&endless[..endless.len() - 2]), HeadError::TooManyHeaders { limit: 64 });
    let limits = HeadLimits { headers: 2, ..HeadLimits::default() };
    let mut bytes = head(3).into_bytes();
    let outcome = RequestReader::new().read(&limits, &mut Input::new(&mut bytes)).map(|_| ());
    assert_eq!(outcome, Err(HeadError::TooManyHeaders { limit: 2 }));
}

#[test]
fn h13_what_follows_the_head_is_left_and_does_not_count() {
    let head = with_header("x: y");
    let mut bytes = head.clone().into_bytes();
    bytes.resize(100_000, 0x81);
    for piece in [1, 7, head.len() - 1, head.len(), usize::MAX] {
        let (outcome, left) = request(&bytes, piece);
        assert!(outcome.unwrap().is_some());
        assert_eq!(left, bytes.len() - head.len());
    }
}

#[test]
fn h14_content_length_with_transfer_encoding_is_400() {
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "transfer-encoding: identity\r\ncontent-length: 0",
    ] {
        assert_eq!(refused(with_header(lines)), HeadError::LengthAndEncoding);
    }
    assert_eq!(HeadError::LengthAndEncoding.status(), 400);
}

#[test]
fn h15_a_content_length_that_is_not_one_plain_number_is_400() {
    for value in [
        "+5",
        "-5",
        "5,5",
        "5, 5",
        "1e1",
        "0x5",
        "",
        " ",
        "5 5",
        "5.0",
        "18446744073709551616",
        "00000000000000000005",
        "\u{ff15}",
    ] {
        assert_eq!(refused(with_header(&format!("Content-Length: {value}"))), HeadError::ContentLength, "{value}");
    }
    assert_eq!(refused(with_header("Content-Length: 5\r\nContent-Length: 6")), HeadError::ContentLength);
    assert_eq!(refused(with_header("Content-Length: 5\r\ncontent-length: 5")), HeadError::ContentLength);
    assert_eq!(HeadError::ContentLength.status(), 400);
    let most = with_header("Content-Length: 9999999999999999999");
    assert!(request(most.as_bytes(), 1).0.unwrap().unwrap().contains("Length(9999999999999999999)"));
}

#[test]
fn h16_a_transfer_encoding_other_than_chunked_is_400_or_501() {
    for (value, error) in [
        ("xchunked", HeadError::CodingUnknown),
        ("gzip, chunked", HeadError::CodingUnknown),
        ("gzip", HeadError::CodingUnknown),
        ("chunked, gzip", HeadError::TransferEncoding),
        ("chunked, chunked", HeadError::TransferEncoding),
        ("chunked,", HeadError::TransferEncoding),
        (",chunked", HeadError::TransferEncoding),
        ("", HeadError::TransferEncoding),
        ("chunked\u{a0}", HeadError::TransferEncoding),
        ("chun ked", HeadError::TransferEncoding),
        ("\"chunked\"", HeadError::TransferEncoding),
        ("\x0bchunked", HeadError::HeaderValue),
        ("chunked\x0c", HeadError::HeaderValue),
    ] {
        assert_eq!(refused(with_header(&format!("Transfer-Encoding: {value}"))), error, "{value:?}");
        assert!(matches!(error.status(), 400 | 501));
    }
    let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked";
    assert_eq!(refused(with_header(twice)), HeadError::TransferEncoding);
    assert_eq!(refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), HeadError::TransferEncoding);
    assert!(request(with_header("Transfer-Encoding: Chunked").as_bytes(), 1).0.unwrap().unwrap().contains("Chunked"));
}

#[test]
fn h17_a_folded_line_is_400() {
    for line in ["x: y\r\n z", "x: y\r\n\tz", "x:\r\n y"] {
        assert_eq!(refused(with_header(line)), HeadError::HeaderName);
    }
    assert_eq!(refused("GET / HTTP/1.1\r\n Host: a\r\n\r\n"), HeadError::HeaderName);
}

#[test]
fn h18_a_space_before_the_colon_or_an_odd_name_is_400() {
    for line in ["Upgrade : websocket", "Upgrade\t: x", ": x", "a b: x", "x", "(x): y", "x\u{e9}: y", "\"x\": y"] {
        assert_eq!(refused(with_header(line)), HeadError::HeaderName, "{line}");
    }
}

#[test]
fn h19_control_characters_are_400_everywhere() {
    for control in (0..=0x1f).chain([0x7f]) {
        if matches!(control, b'\r' | b'\n' | b'\t') {
            continue;
        }
        let control = control as char;
        assert_eq!(refused(with_header(&format!("x: a{control}b"))), HeadError::HeaderValue);
        assert_eq!(refused(with_header(&format!("x: {control}"))), HeadError::HeaderValue);
        assert_eq!(refused(with_header(&format!("x{control}: a"))), HeadError::HeaderName);
        assert_eq!(refused(format!("GET /{control} HTTP/1.1\r\nHost: a\r\n\r\n")), HeadError::RequestLine);
        assert_eq!(refused(format!("G{control}T / HTTP/1.1\r\nHost: a\r\n\r\n")), HeadError::RequestLine);
    }
}

#[test]
fn a_line_ends_with_crlf_and_nothing_else() {
    for head in [
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nx:\nHost: a\r\n\r\n",
        "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        assert_eq!(refused(head), HeadError::LineEnd, "{head:?}");
    }
    for head in [
        "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
        "GET / HTTP/1.1\rHost: a\r\n\r\n",
        "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\r\n\r\n",
    ] {
        assert_eq!(refused(head).status(), 400, "{head:?}");
    }
    // A bare line feed is refused where it comes, not at the end of the head.
    assert_eq!(refused("GET / HTTP/1.1\n"), HeadError::LineEnd);
}

#[test]
fn two_empty_lines_before_a_request_are_passed_over_and_no_more() {
    let head = with_header("x: y");
    for (empty, passes) in [("\r\n", true), ("\r\n\r\n", true), ("\r\n\r\n\r\n", false)] {
        let bytes = format!("{empty}{head}");
        for piece in [1, 2, 3, 5, 9999] {
            assert_eq!(
                request(bytes.as_bytes(), piece).0.is_ok_and(|head| head.is_some()),
                passes,
                "{empty:?} {piece}"
            );
        }
    }
    assert_eq!(response(b"\r\nHTTP/1.1 200 OK\r\n\r\n", 1).0, Err(HeadError::EmptyLines));
    // The count begins anew with each head.
    let mut bytes = format!("\r\n\r\n{head}").repeat(3).into_bytes();
    let mut input = Input::new(&mut bytes);
    let mut reader = RequestReader::new();
    for _ in 0..3 {
        assert!(reader.read(&HeadLimits::default(), &mut input).unwrap().is_some());
    }
}

#[test]
fn h21_a_request_line_over_8000_octets_is_414_as_soon_as_it_is_over() {
    let line = |octets: usize| format!("GET /{} HTTP/1.1", "a".repeat(octets - 14));
    let most = format!("{}\r\nHost: a\r\n\r\n", line(8000));
    assert!(request(most.as_bytes(), 1).0.unwrap().is_some());
    assert!(request(most.as_bytes(), 9999).0.unwrap().is_some());
    let over = HeadError::RequestLineTooLong { limit: 8000 };
    assert_eq!(over.status(), 414);
    assert_eq!(refused(format!("{}\r\nHost: a\r\n\r\n", line(8001))), over);
    // The CR behind 8,000 octets is none of them, whatever comes next, be it nothing.
    let mut reader = RequestReader::new();
    let mut bytes = most.clone().into_bytes();
    let (first, second) = bytes.split_at_mut(8001);
    for piece in [first, &mut [][..], second] {
        let wanted = piece.ends_with(b"\n\r\n");
        assert_eq!(reader.read(&HeadLimits::default(), &mut Input::new(piece)).unwrap().is_some(), wanted);
    }
    let endless = format!("GET /{}", "a".repeat(20_000));
    assert_eq!(request(&endless.as_bytes()[..8000], 1).0, Ok(None));
    assert_eq!(refused(&endless[..8001]), over);
    assert_eq!(refused(&endless), over);
}

#[test]
fn h21_a_target_with_space_control_or_raw_bytes_is_400() {
    for target in ["/\0", "/a b", "/\u{80}", "/\u{e9}", "", " /", "/\x7f", "/\t"] {
        let status = refused(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).status();
        assert_eq!(status, 400, "{target:?}");
    }
    let mut raw = b"GET /\x80\xff HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
    assert_eq!(refused(&raw), HeadError::RequestLine);
    raw[5] = b'a';
    assert_eq!(refused(&raw), HeadError::RequestLine);
}

#[test]
fn h29_the_http2_preface_and_other_versions_are_505() {
    assert_eq!(refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), HeadError::Version);
    for version in ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "HTTP/3.0"] {
        assert_eq!(refused(format!("GET / {version}\r\nHost: a\r\n\r\n")), HeadError::Version);
        assert_eq!(response(format!("{version} 200 OK\r\n\r\n").as_bytes(), 1).0, Err(HeadError::Version));
    }
    assert_eq!(HeadError::Version.status(), 505);
    for line in
        ["GET / HTTX/1.1", "GET / http/1.1", "GET / HTTP/11", "GET / HTTP/1.10", "GET /", "GET", "GET  / HTTP/1.1"]
    {
        assert_eq!(refused(format!("{line}\r\nHost: a\r\n\r\n")).status(), 400, "{line}");
    }
}

#[test]
fn a_first_byte_that_begins_no_request_is_refused_at_once() {
    assert_eq!(refused(b"\x16\x03\x01\x02\x00"), HeadError::RequestLine);
    assert_eq!(refused(" GET / HTTP/1.1\r\nHost: a\r\n\r\n"), HeadError::RequestLine);
}

#[test]
fn odd_status_lines_are_refused() {
    for line in [
        "HTTP/1.1 99 x",
        "HTTP/1.1 099 x",
        "HTTP/1.1 2000 x",
        "HTTP/1.1 20",
        "HTTP/1.1  200",
        "HTTP/1.1 200\tOK",
        "HTTP/1.1 +20 x",
    ] {
        assert_eq!(response(format!("{line}\r\n\r\n").as_bytes(), 1).0, Err(HeadError::StatusLine), "{line}");
    }
    assert_eq!(response(b"HTTP/1.1 200 a\0b\r\n\r\n", 1).0, Err(HeadError::StatusLine));
    assert_eq!(response(b"HTTP/1.1 200 OK\r\nx : y\r\n\r\n", 1).0, Err(HeadError::HeaderName));
    assert_eq!(response(b"HTTP/1.1 200 OK\r\nx: y\r\n z\r\n\r\n", 1).0, Err(HeadError::HeaderName));
    assert_eq!(response(b"HTTP/1.1 200 OK\nx: y\r\n\r\n", 1).0, Err(HeadError::LineEnd));
    assert_eq!(response(b"SSH-2.0-x", 1).0, Err(HeadError::StatusLine));
    assert_eq!(response(b"SSH-2.0-x", 99).0, Err(HeadError::StatusLine));
}

#[test]
fn an_error_stands_and_takes_nothing() {
    let limits = HeadLimits::default();
    let mut bytes = *b"GET / HTTP/1.1\r\n\r\nrest";
    for cut in 0..18 {
        let mut reader = RequestReader::new();
        let (first, second) = bytes.split_at_mut(cut);
        assert!(reader.read(&limits, &mut Input::new(first)).unwrap().is_none());
        let mut input = Input::new(second);
        for _ in 0..3 {
            assert!(matches!(reader.read(&limits, &mut input), Err(HeadError::HostMissing)));
            assert_eq!(input.taken(), 0);
        }
    }
}

/// Heads, good and bad, made of parts that are each worth a try.
fn any_head() -> impl Strategy<Value = Vec<u8>> {
    let parts = prop::sample::select(vec![
        "GET ",
        "POST ",
        "/",
        "/a?b=c",
        " HTTP/1.1",
        " HTTP/1.0",
        " HTTP/2.0",
        "\r\n",
        "\r\n\r\n",
        "\r",
        "\n",
        "Host: a",
        "Host: b",
        "x: y",
        "x:y ",
        " : ",
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "Connection: close",
        "\0",
        "\u{e9}",
        " ",
        "\t",
    ]);
    let random = prop::collection::vec(parts, 0..12).prop_map(|parts| parts.concat().into_bytes());
    let good = prop::collection::vec("[a-z]{1,9}: [ -~]{0,20}", 0..66).prop_map(|fields| {
        let lines: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        format!("GET /p HTTP/1.1\r\nHost: a\r\n{lines}\r\nrest").into_bytes()
    });
    prop_oneof![random, good]
}

proptest! {
    #[test]
    fn any_cut_of_a_request_head_gives_the_same(bytes in any_head(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4)) {
        let whole = request(&bytes, usize::MAX);
        prop_assert_eq!(&request(&bytes, 1), &whole);
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        at.push(bytes.len());
        at.sort_unstable();
        let (limits, mut reader, mut from) = (HeadLimits::default(), RequestReader::new(), 0);
        let mut outcome = Ok(None);
        let mut left = bytes.len();
        for to in at {
            let mut piece = bytes[from..to].to_vec();
            let mut input = Input::new(&mut piece);
            outcome = reader.read(&limits, &mut input).map(|head| head.map(|head| describe_request(&head)));
            left -= input.taken();
            if outcome.is_err() { left = 0 }
            if outcome != Ok(None) { break }
            from = to;
        }
        prop_assert_eq!((outcome, left), whole);
    }

    #[test]
    fn any_cut_of_a_response_head_gives_the_same(tail in any_head()) {
        let bytes = [b"HTTP/1.1 200 OK\r\n", &tail[..]].concat();
        let whole = response(&bytes, usize::MAX);
        for piece in [1, 2, 3, 16, 17, 18] {
            prop_assert_eq!(&response(&bytes, piece), &whole);
        }
    }
}
