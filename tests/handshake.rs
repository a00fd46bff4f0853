//! The client's side of the opening handshake: what it asks for, which answers open a WebSocket, and what it makes of others.

use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;
use tautline::http::origin::Origin;
use tautline::http::upgrade::{Answer, Upgrade, UpgradeConfig};
use tautline::http::url::Url;
use tautline::http::{BodyError, FieldError, HeadError, HeadLimits, RequestReader};
use tautline::ws::{ClientHandshake, HandshakeConfig, HandshakeConfigError, HandshakeError, HandshakeEvent};
use tautline::{Input, Instant, Output};

/// The nonce of RFC 6455 section 1.3, so that its sample accept value is the right one.
const NONCE: [u8; 16] = *b"the sample nonce";
const ACCEPT: &str = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
const NOW: Instant = Instant::ORIGIN;

fn handshake_of(config: HandshakeConfig) -> ClientHandshake {
    ClientHandshake::new(&Url::parse("ws://example.com/chat").unwrap(), Arc::new(config), NONCE, NOW).unwrap()
}

fn offering() -> HandshakeConfig {
    HandshakeConfig {
        protocols: vec!["v2.chat".into(), "v1.chat".into()],
        extensions: Some("permessage-deflate; client_max_window_bits".into()),
        ..HandshakeConfig::default()
    }
}

fn request(url: &str, config: HandshakeConfig) -> Result<String, HandshakeConfigError> {
    let mut handshake = ClientHandshake::new(&Url::parse(url).unwrap(), Arc::new(config), NONCE, NOW)?;
    let mut out = Output::new();
    handshake.start(&mut out).unwrap();
    let written = out.chunks().flatten().copied().collect();
    // Once only.
    handshake.start(&mut out).unwrap();
    handshake.handle_timeout(NOW, &mut out);
    assert_eq!(out.chunks().flatten().count(), Vec::len(&written));
    Ok(String::from_utf8(written).unwrap())
}

/// All that a handshake said, with the pieces of the body joined, and what it left in the input.
#[derive(Debug, Default, PartialEq, Clone)]
struct Said {
    interim: Vec<u16>,
    opened: Option<(Option<String>, Vec<String>)>,
    refused: Option<u16>,
    body: Vec<u8>,
    error: Option<HandshakeError>,
    left: Vec<u8>,
}

fn run(config: HandshakeConfig, pieces: &mut [Vec<u8>]) -> Said {
    let mut handshake = handshake_of(config);
    let mut out = Output::new();
    let mut said = Said::default();
    for piece in pieces {
        let mut input = Input::new(piece);
        drain(&mut handshake, &mut input, &mut out, &mut said);
        said.left.extend_from_slice(input.rest());
    }
    said
}

fn drain(handshake: &mut ClientHandshake, input: &mut Input<'_>, out: &mut Output, said: &mut Said) {
    loop {
        match handshake.next_event(input, out, NOW) {
            Ok(Some(HandshakeEvent::Interim(head))) => said.interim.push(head.status()),
            Ok(Some(HandshakeEvent::Open(opened))) => {
                assert!(said.opened.is_none());
                let extensions = opened.extensions().map(|extension| extension.name().to_string()).collect();
                said.opened = Some((opened.protocol().map(str::to_string), extensions));
            }
            Ok(Some(HandshakeEvent::Refused(refusal))) => said.refused = Some(refusal.status()),
            Ok(Some(HandshakeEvent::Body(bytes))) => said.body.extend_from_slice(bytes),
            Ok(Some(_)) => unreachable!("no other event"),
            Ok(None) => return,
            Err(error) => {
                assert!(said.error.is_none(), "an error twice");
                said.error = Some(error);
            }
        }
    }
}

fn answered(config: HandshakeConfig, answer: &str) -> Said {
    run(config, &mut [answer.as_bytes().to_vec()])
}

/// A 101 with these lines in the place of the usual ones.
fn switching(lines: &str) -> String {
    format!("HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n")
}

fn good() -> String {
    switching(&format!("Upgrade: websocket\r\nConnection: Upgrade\r\n{ACCEPT}"))
}

#[test]
fn the_request_is_that_of_rfc_6455() {
    assert_eq!(
        request("ws://example.com:8080/chat?room=1", HandshakeConfig::default()).unwrap(),
        "GET /chat?room=1 HTTP/1.1\r\nHost: example.com:8080\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
}

#[test]
fn the_request_carries_what_the_application_asks_for() {
    let config = HandshakeConfig {
        headers: vec![("X-Trace".into(), "1 2".into())],
        cookies: vec![("a".into(), "1".into()), ("b".into(), "".into())],
        origin: Some(Origin::parse("https://page.example").unwrap()),
        ..offering()
    };
    let request = request("wss://Aladdin:open%20sesame@[::1]/", config).unwrap();
    for line in [
        "Host: [::1]",
        "Sec-WebSocket-Protocol: v2.chat, v1.chat",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
        "Origin: https://page.example",
        "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        "Cookie: a=1; b=",
        "X-Trace: 1 2",
    ] {
        assert!(request.lines().any(|present| present == line), "{line} in {request}");
    }
    assert!(!request.contains('@') && request.ends_with("\r\n\r\n"));
}

#[test]
fn own_authorization_goes_before_the_urls() {
    let config =
        HandshakeConfig { headers: vec![("authorization".into(), "Bearer x".into())], ..HandshakeConfig::default() };
    let request = request("ws://u:p@a/", config).unwrap();
    assert!(request.contains("authorization: Bearer x\r\n") && !request.contains("Basic"));
}

#[test]
fn what_cannot_be_sent_is_refused_before_a_byte_is_written() {
    let header = |name: &str, value: &str| HandshakeConfig {
        headers: vec![(name.into(), value.into())],
        ..HandshakeConfig::default()
    };
    let cookie = |name: &str, value: &str| HandshakeConfig {
        cookies: vec![(name.into(), value.into())],
        ..HandshakeConfig::default()
    };
    let protocols = |protocols: &[&str]| HandshakeConfig {
        protocols: protocols.iter().map(|protocol| protocol.to_string()).collect(),
        ..HandshakeConfig::default()
    };
    let extensions = |value: &str| HandshakeConfig { extensions: Some(value.into()), ..HandshakeConfig::default() };
    let mut cases = vec![
        (cookie("a b", "c"), HandshakeConfigError::Cookie),
        (cookie("a", "b;c"), HandshakeConfigError::Cookie),
        (cookie("a", "b\r\nX: y"), HandshakeConfigError::Cookie),
        (cookie("", "b"), HandshakeConfigError::Cookie),
        (protocols(&["a b"]), HandshakeConfigError::Protocol),
        (protocols(&[""]), HandshakeConfigError::Protocol),
        (protocols(&["a\r\n"]), HandshakeConfigError::Protocol),
        (protocols(&["a", "b", "a"]), HandshakeConfigError::ProtocolRepeated),
        (extensions(""), HandshakeConfigError::Extensions),
        (extensions("a;"), HandshakeConfigError::Extensions),
        (extensions("a\r\nX: y"), HandshakeConfigError::Extensions),
        (HandshakeConfig { timeout: Duration::ZERO, ..offering() }, HandshakeConfigError::Timeout),
    ];
    for (name, value, error) in [
        ("X", "a\rb", FieldError::Value),
        ("X", "a\nb", FieldError::Value),
        ("X", "a\0b", FieldError::Value),
        ("X Y", "a", FieldError::Name),
        ("X:", "a", FieldError::Name),
        ("Host", "a", FieldError::Reserved),
        ("ORIGIN", "a", FieldError::Reserved),
        ("Connection", "a", FieldError::Reserved),
        ("Upgrade", "a", FieldError::Reserved),
        ("sec-websocket-key", "a", FieldError::Reserved),
        ("Content-Length", "1", FieldError::Reserved),
    ] {
        cases.push((header(name, value), HandshakeConfigError::Header(error)));
    }
    let two_cookies = HandshakeConfig { headers: vec![("Cookie".into(), "a=b".into())], ..cookie("c", "d") };
    cases.push((two_cookies, HandshakeConfigError::Header(FieldError::Reserved)));
    for (config, error) in cases {
        assert_eq!(config.clone().check().unwrap_err(), error, "{config:?}");
        assert_eq!(request("ws://a/", config), Err(error));
    }
    // Case matters in subprotocols.
    assert!(protocols(&["a", "A"]).check().is_ok());
    assert_eq!(request("http://a/", HandshakeConfig::default()), Err(HandshakeConfigError::Scheme));
}

#[test]
fn h26_only_a_right_101_opens() {
    let upgrade = "Upgrade: websocket\r\n";
    let connection = "Connection: Upgrade\r\n";
    for (lines, error) in [
        (format!("{connection}{ACCEPT}"), HandshakeError::Upgrade),
        (format!("Upgrade: h2c\r\n{connection}{ACCEPT}"), HandshakeError::Upgrade),
        (format!("Upgrade: websocket, h2c\r\n{connection}{ACCEPT}"), HandshakeError::Upgrade),
        (format!("{upgrade}{upgrade}{connection}{ACCEPT}"), HandshakeError::Upgrade),
        (format!("{upgrade}{ACCEPT}"), HandshakeError::Connection),
        (format!("{upgrade}Connection: close\r\n{ACCEPT}"), HandshakeError::Connection),
        (format!("{upgrade}{connection}"), HandshakeError::AcceptMissing),
        (format!("{upgrade}{connection}{ACCEPT}{ACCEPT}"), HandshakeError::AcceptRepeated),
        (
            format!("{upgrade}{connection}Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOp=\r\n"),
            HandshakeError::AcceptWrong,
        ),
        (
            format!("{upgrade}{connection}Sec-WebSocket-Accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
            HandshakeError::AcceptWrong,
        ),
        (format!("{upgrade}{connection}Sec-WebSocket-Accept:\r\n"), HandshakeError::AcceptWrong),
        (
            format!("{upgrade}{connection}{ACCEPT}Sec-WebSocket-Extensions: x-webkit-deflate-frame\r\n"),
            HandshakeError::Extension,
        ),
        (
            format!(
                "{upgrade}{connection}{ACCEPT}Sec-WebSocket-Extensions: permessage-deflate, permessage-deflate\r\n"
            ),
            HandshakeError::Extension,
        ),
        (
            format!("{upgrade}{connection}{ACCEPT}Sec-WebSocket-Extensions: permessage-deflate;\r\n"),
            HandshakeError::ExtensionsMalformed,
        ),
        (format!("{upgrade}{connection}{ACCEPT}Sec-WebSocket-Protocol: chat\r\n"), HandshakeError::Protocol),
        (format!("{upgrade}{connection}{ACCEPT}Sec-WebSocket-Protocol: V1.chat\r\n"), HandshakeError::Protocol),
        (format!("{upgrade}{connection}{ACCEPT}Sec-WebSocket-Protocol:\r\n"), HandshakeError::Protocol),
        (
            format!("{upgrade}{connection}{ACCEPT}Sec-WebSocket-Protocol: v1.chat, v2.chat\r\n"),
            HandshakeError::Protocol,
        ),
        (
            format!(
                "{upgrade}{connection}{ACCEPT}Sec-WebSocket-Protocol: v1.chat\r\nSec-WebSocket-Protocol: v2.chat\r\n"
            ),
            HandshakeError::Protocol,
        ),
    ] {
        // The frame behind it is not looked at.
        let said = answered(offering(), &(switching(&lines) + "\u{1}"));
        assert_eq!((said.error, said.opened, said.left.as_slice()), (Some(error), None, &b"\x01"[..]), "{lines}");
    }
    let old = good().replace("HTTP/1.1", "HTTP/1.0");
    assert_eq!(answered(offering(), &old).error, Some(HandshakeError::HttpVersion));
}

#[test]
fn h26_an_extension_or_subprotocol_where_none_was_offered_fails() {
    for (line, error) in [
        ("Sec-WebSocket-Extensions: permessage-deflate\r\n", HandshakeError::Extension),
        ("Sec-WebSocket-Protocol: v1.chat\r\n", HandshakeError::Protocol),
    ] {
        let answer = good().replace("\r\n\r\n", &format!("\r\n{line}\r\n"));
        assert_eq!(answered(HandshakeConfig::default(), &answer).error, Some(error));
        assert!(answered(offering(), &answer).opened.is_some());
    }
}

#[test]
fn h26_a_200_is_a_refusal_with_a_body() {
    let said = answered(offering(), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, more");
    assert_eq!((said.refused, said.error), (Some(200), Some(HandshakeError::Refused { status: 200 })));
    assert_eq!(said.body, b"hello");
}

#[test]
fn h5_the_answers_tokens_may_come_in_any_case_and_order() {
    let lines = format!("SERVER: x\r\nConnection: keep-alive, UPGRADE\r\n{ACCEPT}upgrade: WebSocket\r\n");
    assert_eq!(answered(offering(), &switching(&lines)).opened, Some((None, vec![])));
}

#[test]
fn what_the_server_chose_is_readable() {
    let lines = "Sec-WebSocket-Protocol: v1.chat\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=\"12\"\r\n";
    let answer = good().replace("\r\n\r\n", &format!("\r\n{lines}Set-Cookie: a=b\r\n\r\n"));
    let mut bytes = answer.into_bytes();
    let mut handshake = handshake_of(offering());
    let mut input = Input::new(&mut bytes);
    let Ok(Some(HandshakeEvent::Open(opened))) = handshake.next_event(&mut input, &mut Output::new(), NOW) else {
        panic!("not open")
    };
    assert_eq!(opened.protocol(), Some("v1.chat"));
    let extension = opened.extensions().next().unwrap();
    assert!(extension.params().next().unwrap().value.is_some_and(|value| value == "12"));
    assert_eq!(opened.head().headers().get("set-cookie"), Some(&b"a=b"[..]));
}

#[test]
fn h13_frames_behind_the_101_stay_in_the_input_at_every_cut() {
    let frames = b"\x81\x02hi\x88\x00";
    let all = [good().as_bytes(), frames].concat();
    for cut in 0..=all.len() {
        let said = run(offering(), &mut [all[..cut].to_vec(), all[cut..].to_vec()]);
        assert!(said.opened.is_some() && said.left == frames, "cut at {cut}: {said:?}");
    }
}

#[test]
fn h27_an_endless_101_head_fails_at_8_kib() {
    let endless = good().trim_end().to_string() + "\r\nX: " + &"x".repeat(100_000);
    let mut handshake = handshake_of(offering());
    let mut out = Output::new();
    for (at, byte) in endless.bytes().enumerate() {
        match handshake.next_event(&mut Input::new(&mut [byte]), &mut out, NOW) {
            Ok(None) => assert!(at < 8192),
            other => {
                assert!(matches!(other, Err(HandshakeError::Head(HeadError::TooLong { limit: 8192 }))), "{other:?}");
                assert_eq!(at, 8192);
                return;
            }
        }
    }
    panic!("no limit");
}

#[test]
fn h27_an_endless_body_fails_at_64_kib_and_no_more_is_read() {
    for head in [
        "HTTP/1.1 503 No\r\n\r\n",
        "HTTP/1.1 503 No\r\nContent-Length: 99999999999\r\n\r\n",
        "HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n",
    ] {
        let mut pieces = vec![head.as_bytes().to_vec()];
        pieces.extend(std::iter::repeat_n(vec![b'x'; 1000], 100));
        let said = run(offering(), &mut pieces);
        assert_eq!(said.refused, Some(503));
        assert_eq!(said.error, Some(HandshakeError::Body(BodyError::TooLarge { limit: 65_536 })), "{head}");
        assert!(said.body.len() <= 65_536);
        if !head.contains("chunked") {
            assert_eq!(said.body.len(), 65_536);
        }
    }
}

#[test]
fn a_refusals_body_ends_by_length_by_chunks_or_with_the_stream() {
    for answer in [
        "HTTP/1.1 401 No\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
        "HTTP/1.0 401 No\r\n\r\nabc",
    ] {
        let mut handshake = handshake_of(offering());
        let (mut out, mut said) = (Output::new(), Said::default());
        drain(&mut handshake, &mut Input::new(&mut answer.as_bytes().to_vec()), &mut out, &mut said);
        handshake.handle_eof(NOW);
        drain(&mut handshake, &mut Input::new(&mut []), &mut out, &mut said);
        assert_eq!((said.refused, said.body.as_slice()), (Some(401), &b"abc"[..]));
        assert_eq!(said.error, Some(HandshakeError::Refused { status: 401 }), "{answer}");
        assert!(handshake.is_ended());
    }
}

#[test]
fn retry_after_and_headers_of_a_refusal_are_readable() {
    for (value, expected) in [
        ("120", Some(Duration::from_secs(120))),
        ("0", Some(Duration::ZERO)),
        ("99999999999999999999999", Some(Duration::from_secs(u64::MAX))),
        ("", None),
        ("-1", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", None),
    ] {
        let mut bytes = format!("HTTP/1.1 503 No\r\nRetry-After: {value}\r\n\r\n").into_bytes();
        let mut handshake = handshake_of(offering());
        let mut input = Input::new(&mut bytes);
        let event = handshake.next_event(&mut input, &mut Output::new(), NOW);
        let Ok(Some(HandshakeEvent::Refused(refusal))) = event else { panic!("{event:?}") };
        assert_eq!(refusal.retry_after(), expected, "{value}");
        assert_eq!(refusal.head().headers().get("Retry-After"), Some(value.as_bytes()));
    }
}

#[test]
fn h28_a_redirect_is_reported_and_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let mut bytes =
            format!("HTTP/1.1 {status} Moved\r\nLocation: wss://b/x\r\nContent-Length: 0\r\n\r\n").into_bytes();
        let mut handshake = handshake_of(offering());
        let mut out = Output::new();
        handshake.start(&mut out).unwrap();
        let asked = out.len();
        let mut input = Input::new(&mut bytes);
        let event = handshake.next_event(&mut input, &mut out, NOW);
        let Ok(Some(HandshakeEvent::Refused(refusal))) = event else { panic!("{event:?}") };
        assert_eq!((refusal.status(), refusal.location()), (status, Some("wss://b/x")));
        let mut said = Said::default();
        drain(&mut handshake, &mut input, &mut out, &mut said);
        assert_eq!(said.error, Some(HandshakeError::Redirected { status }));
        assert_eq!(out.len(), asked);
    }
    for status in [300, 304, 305] {
        let said = answered(offering(), &format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(said.error, Some(HandshakeError::Refused { status }));
    }
}

#[test]
fn interim_answers_are_passed_over_up_to_a_bound() {
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let said = answered(offering(), &(interim.repeat(8) + &good()));
    assert!(said.opened.is_some() && said.interim == [103; 8]);
    let said = answered(offering(), &interim.repeat(100));
    assert_eq!(said.error, Some(HandshakeError::Interim { limit: 8 }));
}

#[test]
fn garbage_instead_of_an_answer_fails() {
    for garbage in [
        "\r\n",
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
        "HTTP/2 101 x\r\n\r\n",
        "HTTP/1.1 101 x\n\n",
        "\u{16}\u{3}\u{1}\r\n\r\n",
    ] {
        let said = answered(offering(), garbage);
        assert!(matches!(said.error, Some(HandshakeError::Head(_))), "{garbage:?}: {said:?}");
    }
}

#[test]
fn the_deadline_is_10_seconds_and_no_byte_renews_it() {
    let mut handshake = handshake_of(offering());
    let mut out = Output::new();
    let deadline = NOW + Duration::from_secs(10);
    for (second, byte) in good().bytes().enumerate().take(9) {
        assert_eq!(handshake.poll_timeout(), Some(deadline));
        let now = NOW + Duration::from_secs(second as u64 + 1);
        handshake.handle_timeout(now, &mut out);
        assert!(matches!(handshake.next_event(&mut Input::new(&mut [byte]), &mut out, now), Ok(None)));
    }
    handshake.handle_timeout(deadline, &mut out);
    assert!(handshake.is_ended() && handshake.poll_timeout().is_none());
    let mut said = Said::default();
    drain(&mut handshake, &mut Input::new(&mut []), &mut out, &mut said);
    assert_eq!(said.error, Some(HandshakeError::TimedOut { limit: Duration::from_secs(10) }));
    // Too late.
    let mut late = good().into_bytes();
    drain(&mut handshake, &mut Input::new(&mut late), &mut out, &mut said);
    assert!(said.opened.is_none());
}

#[test]
fn the_deadline_holds_for_the_body_of_a_refusal_too() {
    let mut handshake = handshake_of(offering());
    let (mut out, mut said) = (Output::new(), Said::default());
    drain(&mut handshake, &mut Input::new(&mut b"HTTP/1.1 500 No\r\n\r\nx".to_vec()), &mut out, &mut said);
    handshake.handle_timeout(NOW + Duration::from_secs(10), &mut out);
    drain(&mut handshake, &mut Input::new(&mut []), &mut out, &mut said);
    assert!(matches!(said.error, Some(HandshakeError::TimedOut { .. })) && said.refused == Some(500));
}

#[test]
fn the_end_of_the_stream_before_the_answer_is_an_error_once() {
    for sent in ["", "HTTP/1.1 101", "HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\nx"] {
        let mut handshake = handshake_of(offering());
        let (mut out, mut said) = (Output::new(), Said::default());
        drain(&mut handshake, &mut Input::new(&mut sent.as_bytes().to_vec()), &mut out, &mut said);
        handshake.handle_eof(NOW);
        handshake.handle_eof(NOW);
        drain(&mut handshake, &mut Input::new(&mut []), &mut out, &mut said);
        let expected =
            if sent.contains("500") { HandshakeError::Body(BodyError::Truncated) } else { HandshakeError::Eof };
        assert_eq!(said.error, Some(expected), "{sent}");
        drain(&mut handshake, &mut Input::new(&mut []), &mut out, &mut said);
    }
    // Behind an opened one it is the connection's business.
    let mut handshake = handshake_of(offering());
    let (mut out, mut said) = (Output::new(), Said::default());
    drain(&mut handshake, &mut Input::new(&mut good().into_bytes()), &mut out, &mut said);
    handshake.handle_eof(NOW);
    handshake.handle_timeout(NOW + Duration::from_secs(60), &mut out);
    drain(&mut handshake, &mut Input::new(&mut []), &mut out, &mut said);
    assert!(said.error.is_none() && said.opened.is_some());
}

#[test]
fn a_request_that_does_not_fit_is_written_later_and_once() {
    let mut handshake = handshake_of(offering());
    let mut out = Output::with_limit(300);
    out.push(&[b'x'; 250]).unwrap();
    assert!(handshake.start(&mut out).is_err());
    assert_eq!(out.len(), 250);
    out.clear();
    assert!(matches!(handshake.next_event(&mut Input::new(&mut []), &mut out, NOW), Ok(None)));
    let len = out.len();
    assert!(len > 200);
    handshake.start(&mut out).unwrap();
    assert_eq!(out.len(), len);
}

#[test]
fn debug_output_shows_no_credentials() {
    let config = HandshakeConfig {
        headers: vec![("Authorization".into(), "Bearer geheim".into())],
        cookies: vec![("session".into(), "geheim".into())],
        ..HandshakeConfig::default()
    };
    let shown = format!("{config:?} {:?}", handshake_of(config.clone()));
    assert!(!shown.contains("geheim") && shown.contains("session"), "{shown}");
}

/// Answers of many kinds, right and wrong.
fn some_answer() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(good().into_bytes()),
        Just([good().as_bytes(), b"\x81\x02hi"].concat()),
        Just(("HTTP/1.1 100 Go\r\n\r\n".to_string() + &good()).into_bytes()),
        Just(good().replace("xOo", "xOp").into_bytes()),
        Just(b"HTTP/1.1 503 No\r\nRetry-After: 1\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\nrest".to_vec()),
        Just(b"HTTP/1.1 302 No\r\nLocation: /\r\nContent-Length: 4\r\n\r\nabcdef".to_vec()),
        Just(b"HTTP/1.0 200 OK\r\n\r\nuntil the end".to_vec()),
        Just(b"HTTP/1.1 101 x\r\nUpgrade : websocket\r\n\r\n".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..80),
    ]
}

proptest! {
    #[test]
    fn any_cut_of_the_answer_gives_the_same_outcome(answer in some_answer(), cuts in proptest::collection::vec(1usize..30, 0..20)) {
        let whole = run(offering(), &mut [answer.clone()]);
        let (mut pieces, mut rest) = (Vec::new(), answer.as_slice());
        for cut in cuts {
            let (piece, later) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece.to_vec());
            rest = later;
        }
        pieces.push(rest.to_vec());
        let cut = run(offering(), &mut pieces);
        // After a malformed head, how much was taken depends on the cut; the stream is of no more use.
        let comparable = |said: &Said| Said { left: if said.error.is_some() { Vec::new() } else { said.left.clone() }, ..said.clone() };
        prop_assert_eq!(comparable(&cut), comparable(&whole));
        let mut bytes: Vec<Vec<u8>> = answer.iter().map(|byte| vec![*byte]).collect();
        prop_assert_eq!(comparable(&run(offering(), &mut bytes)), comparable(&whole));
    }

    #[test]
    fn what_our_server_accepts_our_client_accepts(
        nonce: [u8; 16],
        protocols in proptest::sample::subsequence(vec!["a", "b.c", "D~", "x-1"], 0..4),
        ours in proptest::sample::subsequence(vec!["a", "b.c", "D~", "x-1"], 0..4),
        deflate: bool,
        room in "[a-z]{0,8}",
    ) {
        let config = HandshakeConfig {
            protocols: protocols.iter().map(|protocol| protocol.to_string()).collect(),
            extensions: deflate.then(|| "permessage-deflate; client_max_window_bits=\"10\"".to_string()),
            origin: Some(Origin::parse("http://example.com").unwrap()),
            ..HandshakeConfig::default()
        };
        let url = Url::parse(&format!("ws://example.com/{room}")).unwrap();
        let mut client = ClientHandshake::new(&url, Arc::new(config), nonce, NOW).unwrap();
        let (mut up, mut down) = (Output::new(), Output::new());
        client.start(&mut up).unwrap();

        let mut request: Vec<u8> = up.chunks().flatten().copied().collect();
        let mut input = Input::new(&mut request);
        let head = RequestReader::new().read(&HeadLimits::default(), &mut input).unwrap().unwrap();
        prop_assert_eq!(head.target(), format!("/{room}"));
        let upgrade = Upgrade::check_head(&UpgradeConfig::default(), &head).unwrap();
        let protocol = upgrade.choose_protocol(&ours);
        prop_assert_eq!(protocol, protocols.iter().find(|offered| ours.contains(offered)).copied());
        let extensions = upgrade.extensions().next().map(|extension| extension.name());
        upgrade.accept(Answer { protocol, extensions, headers: &[("X-Node", "1")] }).unwrap().write(&mut down).unwrap();

        let mut answer: Vec<u8> = down.chunks().flatten().copied().collect();
        let mut input = Input::new(&mut answer);
        let mut said = Said::default();
        drain(&mut client, &mut input, &mut up, &mut said);
        let accepted = extensions.map(str::to_string).into_iter().collect();
        prop_assert_eq!(said.opened, Some((protocol.map(str::to_string), accepted)));
        prop_assert!(input.is_empty());
    }

    #[test]
    fn another_nonce_is_not_answered(nonce: [u8; 16]) {
        prop_assume!(nonce != NONCE);
        let url = Url::parse("ws://example.com/").unwrap();
        let mut client = ClientHandshake::new(&url, Arc::new(HandshakeConfig::default()), nonce, NOW).unwrap();
        let mut said = Said::default();
        drain(&mut client, &mut Input::new(&mut good().into_bytes()), &mut Output::new(), &mut said);
        prop_assert_eq!(said.error, Some(HandshakeError::AcceptWrong));
    }
}
