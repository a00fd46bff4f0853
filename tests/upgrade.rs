//! The server's side of the opening handshake: what becomes a WebSocket, and what everything else is told.

use proptest::prelude::*;
use tautline::http::FieldError;
use tautline::http::origin::OriginPolicy;
use tautline::http::upgrade::{Answer, AnswerError, Rejection, Upgrade, UpgradeConfig};
use tautline::http::url::Scheme;
use tautline::http::{HeadLimits, RequestReader, ResponseError, Version};
use tautline::output::LAST_ANSWER;
use tautline::{Input, Output};

type Lines = Vec<(String, String)>;

/// What every client sends, without Origin.
fn plain() -> Lines {
    with(&[
        ("Host", "example.com"),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ])
}

fn with(lines: &[(&str, &str)]) -> Lines {
    lines.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// `plain`, with all lines called `name` replaced by `values`.
fn plain_but(name: &str, values: &[&str]) -> Lines {
    let mut lines = plain();
    lines.retain(|(present, _)| !present.eq_ignore_ascii_case(name));
    lines.extend(values.iter().map(|value| (name.to_string(), value.to_string())));
    lines
}

fn check(lines: &Lines) -> Result<Upgrade<'_>, Rejection> {
    check_with(&UpgradeConfig::default(), lines)
}

fn check_with<'h>(config: &UpgradeConfig, lines: &'h Lines) -> Result<Upgrade<'h>, Rejection> {
    let headers = lines.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    Upgrade::check(config, "GET", Version::Http11, headers)
}

fn written(out: &Output) -> String {
    String::from_utf8(out.chunks().flatten().copied().collect()).unwrap()
}

fn rejected(rejection: Rejection) -> String {
    let mut out = Output::new();
    rejection.write(&mut out);
    written(&out)
}

/// Whether an answer is well-formed, has these lines, and ends the connection.
fn assert_answer(answer: &str, status: &str, lines: &[&str]) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    for line in lines {
        assert!(head.lines().any(|present| present == *line), "{line} in {answer}");
    }
    assert!(head.lines().any(|line| line == format!("Content-Length: {}", body.len())), "{answer}");
    assert!(head.lines().any(|line| line.starts_with("Connection: ") && line.ends_with("close")), "{answer}");
}

const ACCEPT: &str = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn accepted(lines: &Lines, answer: Answer<'_>) -> Result<String, AnswerError> {
    let mut out = Output::new();
    let outcome = check(lines).unwrap().accept(answer);
    match outcome {
        Ok(accepted) => {
            // As data and as bytes it is the same.
            accepted.write(&mut out)?;
            let mut lines = format!("HTTP/1.1 {} Switching Protocols\r\n", accepted.status());
            for (name, value) in accepted.headers() {
                lines += &format!("{name}: {}\r\n", std::str::from_utf8(value).unwrap());
            }
            assert_eq!(written(&out), lines + "\r\n");
            Ok(written(&out))
        }
        Err(error) => {
            assert!(out.is_empty());
            Err(error)
        }
    }
}

#[test]
fn the_sample_request_of_rfc_6455_gets_its_sample_answer() {
    let mut request = *b"GET /chat HTTP/1.1\r\n\
        Host: server.example.com\r\n\
        Upgrade: websocket\r\n\
        Connection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Origin: http://example.com\r\n\
        Sec-WebSocket-Protocol: chat, superchat\r\n\
        Sec-WebSocket-Version: 13\r\n\r\n";
    let mut input = Input::new(&mut request);
    let head = RequestReader::new().read(&HeadLimits::default(), &mut input).unwrap().unwrap();
    let config =
        UpgradeConfig { origins: OriginPolicy::listed(["http://example.com"]).unwrap(), ..UpgradeConfig::default() };
    let upgrade = Upgrade::check_head(&config, &head).unwrap();
    assert_eq!(upgrade.protocols().collect::<Vec<_>>(), ["chat", "superchat"]);
    let mut out = Output::new();
    let answer = Answer { protocol: Some("chat"), ..Answer::default() };
    upgrade.accept(answer).unwrap().write(&mut out).unwrap();
    assert_eq!(
        written(&out),
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{ACCEPT}\r\n\
             Sec-WebSocket-Protocol: chat\r\n\r\n"
        )
    );
}

#[test]
fn h1_any_method_but_get_is_405_and_told_which_is_allowed() {
    let lines = plain();
    for method in ["POST", "HEAD", "PUT", "OPTIONS", "get", "CONNECT", ""] {
        let headers = lines.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let rejection = Upgrade::check(&UpgradeConfig::default(), method, Version::Http11, headers).unwrap_err();
        assert_eq!(rejection, Rejection::Method);
        assert_answer(&rejected(rejection), "405 Method Not Allowed", &["Allow: GET", "Connection: close"]);
    }
}

#[test]
fn h2_http_1_0_is_400() {
    let lines = plain();
    let headers = lines.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let rejection = Upgrade::check(&UpgradeConfig::default(), "GET", Version::Http10, headers).unwrap_err();
    assert_eq!(rejection, Rejection::HttpVersion);
    assert_answer(&rejected(rejection), "400 Bad Request", &["Connection: close"]);
}

#[test]
fn h3_no_host_or_two_are_400_where_the_check_stands_alone() {
    for hosts in [&[][..], &["example.com", "example.com"]] {
        assert_eq!(check(&plain_but("Host", hosts)).unwrap_err(), Rejection::Host);
    }
    assert_answer(&rejected(Rejection::Host), "400 Bad Request", &[]);
}

#[test]
fn h4_no_upgrade_is_426_and_told_what_to_upgrade_to() {
    for values in [&[][..], &[""], &["h2c"], &["web socket"], &["websocket/13"], &["xwebsocket"], &["websockets"]] {
        assert_eq!(check(&plain_but("Upgrade", values)).unwrap_err(), Rejection::NoUpgrade, "{values:?}");
    }
    let lines = &["Upgrade: websocket", "Connection: Upgrade, close"];
    assert_answer(&rejected(Rejection::NoUpgrade), "426 Upgrade Required", lines);
}

#[test]
fn h4_an_upgrade_that_connection_does_not_name_is_400() {
    for values in [&[][..], &[""], &["keep-alive"], &["upgrades"], &["close"], &["up grade"]] {
        assert_eq!(check(&plain_but("Connection", values)).unwrap_err(), Rejection::NoConnection, "{values:?}");
    }
    assert_answer(&rejected(Rejection::NoConnection), "400 Bad Request", &["Connection: close"]);
}

#[test]
fn h5_tokens_in_any_case_in_lists_over_several_lines_are_accepted() {
    for (name, values) in [
        ("Connection", &["keep-alive, UPGRADE"][..]),
        ("Connection", &["keep-alive", "upgrade"]),
        ("Connection", &["Upgrade,keep-alive", "te"]),
        ("connection", &[",, \tupGrade\t,"]),
        ("upgrade", &["WebSocket"]),
        ("UPGRADE", &["h2c, websocket"]),
        ("Upgrade", &["h2c", "WEBSOCKET"]),
        ("Sec-Websocket-Version", &[" 13\t"]),
        ("SEC-WEBSOCKET-KEY", &["  dGhlIHNhbXBsZSBub25jZQ== "]),
    ] {
        let lines = plain_but(name, values);
        assert!(accepted(&lines, Answer::default()).unwrap().contains(ACCEPT), "{name}: {values:?}");
    }
}

#[test]
fn h6_a_key_that_is_missing_repeated_or_not_16_bytes_is_400() {
    for (rejection, values) in [
        (Rejection::KeyMissing, &[][..]),
        (Rejection::KeyRepeated, &["dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=="]),
        (Rejection::KeyRepeated, &["dGhlIHNhbXBsZSBub25jZQ==", ""]),
        (Rejection::KeyMalformed, &[""]),
        (Rejection::KeyMalformed, &["dGhlIHNhbXBsZSBub25j"]),
        (Rejection::KeyMalformed, &["dGhlIHNhbXBsZSBub25jZSE="]),
        (Rejection::KeyMalformed, &["dGhlIHNhbXBsZSBub25jZQ"]),
        (Rejection::KeyMalformed, &["dGhlIHNhbXBsZSBub25jZR=="]),
        (Rejection::KeyMalformed, &["dGhlIHNhbXBsZSBub25j!Q=="]),
        (Rejection::KeyMalformed, &["dGhlIHNhbXBsZSBub25j_Q=="]),
        (Rejection::KeyMalformed, &["dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ=="]),
    ] {
        assert_eq!(check(&plain_but("Sec-WebSocket-Key", values)).unwrap_err(), rejection, "{values:?}");
        assert_answer(&rejected(rejection), "400 Bad Request", &["Connection: close"]);
    }
}

#[test]
fn h7_any_version_but_13_is_426_and_told_which_is_spoken() {
    for values in
        [&[][..], &["8"], &["12"], &["13, 8"], &["8, 13"], &["13", "13"], &["13", "8"], &["013"], &["+13"], &[""]]
    {
        assert_eq!(check(&plain_but("Sec-WebSocket-Version", values)).unwrap_err(), Rejection::Version, "{values:?}");
    }
    let lines = &["Sec-WebSocket-Version: 13", "Upgrade: websocket", "Connection: Upgrade, close"];
    assert_answer(&rejected(Rejection::Version), "426 Upgrade Required", lines);
}

#[test]
fn a_request_with_a_body_is_400_because_the_body_would_be_read_as_frames() {
    for (name, value) in [("Content-Length", "5"), ("Content-Length", "x"), ("Transfer-Encoding", "chunked")] {
        assert_eq!(check(&plain_but(name, &[value])).unwrap_err(), Rejection::Body);
    }
    assert!(check(&plain_but("Content-Length", &["0"])).is_ok());
}

#[test]
fn h11_a_protocol_line_of_7000_spaces_chooses_nothing() {
    let spaces = " ".repeat(7000);
    for value in [spaces.clone(), format!(",{spaces},"), format!("{spaces},")] {
        let lines = plain_but("Sec-WebSocket-Protocol", &[&value]);
        let upgrade = check(&lines).unwrap();
        assert_eq!(upgrade.protocols().count(), 0);
        assert_eq!(upgrade.choose_protocol(&["", " ", "chat"]), None);
    }
    let lines = plain_but("Sec-WebSocket-Protocol", &[&format!("a{spaces}b")]);
    assert_eq!(check(&lines).unwrap_err(), Rejection::Protocols);
    let lines = plain_but("Sec-WebSocket-Protocol", &[&format!("a,{spaces},b")]);
    assert_eq!(check(&lines).unwrap().protocols().collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn h12_unknown_extensions_are_ignored_whatever_their_name_and_length() {
    let long = "x".repeat(4096);
    for value in ["__proto__", "constructor; toString", long.as_str(), "a;b=\"c\", d;e"] {
        let lines = plain_but("Sec-WebSocket-Extensions", &[value]);
        let answer = accepted(&lines, Answer::default()).unwrap();
        assert!(!answer.contains("Extensions"), "{answer}");
    }
    for bad in ["a;", "a b", ";", "a;b=\"", "a=b"] {
        assert_eq!(check(&plain_but("Sec-WebSocket-Extensions", &[bad])).unwrap_err(), Rejection::Extensions, "{bad}");
    }
}

#[test]
fn the_offer_of_a_browser_is_readable_for_whoever_negotiates() {
    let lines = plain_but(
        "Sec-WebSocket-Extensions",
        &["permessage-deflate; client_max_window_bits", "permessage-deflate; server_max_window_bits=\"10\""],
    );
    let upgrade = check(&lines).unwrap();
    let offers: Vec<_> = upgrade.extensions().collect();
    assert!(offers.iter().all(|offer| offer.name() == "permessage-deflate") && offers.len() == 2);
    let first: Vec<_> = offers[0].params().collect();
    assert!(first.len() == 1 && first[0].name == "client_max_window_bits" && first[0].value.is_none());
    assert!(offers[1].params().all(|param| param.value.is_some_and(|value| value == "10")));
}

#[test]
fn h13_what_follows_the_head_in_the_same_read_is_left_at_every_cut() {
    let head =
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let frame = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    let all = [&head[..], frame].concat();
    for cut in 0..=all.len() {
        let (mut first, mut second) = (all[..cut].to_vec(), all[cut..].to_vec());
        let mut reader = RequestReader::new();
        let mut left = Vec::new();
        let mut upgraded = false;
        for piece in [&mut first, &mut second] {
            let mut input = Input::new(piece);
            if !upgraded && let Some(head) = reader.read(&HeadLimits::default(), &mut input).unwrap() {
                upgraded = Upgrade::check_head(&UpgradeConfig::default(), &head).is_ok();
            }
            left.extend_from_slice(input.rest());
        }
        assert!(upgraded && left == frame, "cut at {cut}");
    }
}

#[test]
fn h22_a_foreign_origin_is_403_and_told_of_the_proxy() {
    let config = UpgradeConfig { scheme: Scheme::Https, ..UpgradeConfig::default() };
    for origin in [
        "https://example.com.evil.io",
        "https://evilexample.com",
        "https://example.com:444",
        "null",
        "http://example.com",
        "",
    ] {
        let lines = plain_but("Origin", &[origin]);
        let rejection = check_with(&config, &lines).unwrap_err();
        assert_eq!(rejection.status(), 403, "{origin}");
        let answer = rejected(rejection);
        assert_answer(&answer, "403 Forbidden", &["Connection: close"]);
        assert!(answer.contains("proxy"), "{answer}");
        let exactly = UpgradeConfig { origins: OriginPolicy::Any, ..UpgradeConfig::default() };
        assert!(check_with(&exactly, &lines).is_ok());
    }
    for origin in ["https://example.com", " https://example.com:443 "] {
        assert!(check_with(&config, &plain_but("Origin", &[origin])).is_ok(), "{origin}");
    }
    let twice = plain_but("Origin", &["https://example.com", "https://example.com"]);
    assert_eq!(check_with(&config, &twice).unwrap_err(), Rejection::OriginRepeated);
}

#[test]
fn h22_no_origin_is_let_in_under_every_policy() {
    for origins in [OriginPolicy::Same, OriginPolicy::listed(["https://example.com"]).unwrap(), OriginPolicy::Any] {
        assert!(check_with(&UpgradeConfig { origins, ..UpgradeConfig::default() }, &plain()).is_ok());
    }
}

#[test]
fn h23_a_subprotocol_that_was_not_offered_is_an_error_and_writes_nothing() {
    let offered = plain_but("Sec-WebSocket-Protocol", &["v2.chat, v1.chat", "v1.chat", "V3.chat"]);
    for bad in ["v3.chat", "V1.chat", "v1", "", "v2.chat, v1.chat", " v1.chat", "v1.chat\r\nX: y"] {
        let answer = Answer { protocol: Some(bad), ..Answer::default() };
        assert_eq!(accepted(&offered, answer), Err(AnswerError::ProtocolNotOffered), "{bad:?}");
        assert_eq!(accepted(&plain(), answer), Err(AnswerError::ProtocolNotOffered));
    }
    for good in ["v1.chat", "v2.chat", "V3.chat"] {
        let answer = accepted(&offered, Answer { protocol: Some(good), ..Answer::default() }).unwrap();
        assert!(answer.contains(&format!("\r\nSec-WebSocket-Protocol: {good}\r\n")));
    }
    let upgrade = check(&offered).unwrap();
    assert_eq!(upgrade.choose_protocol(&["v1.chat", "v2.chat"]), Some("v2.chat"));
    assert_eq!(upgrade.choose_protocol(&["V1.chat"]), None);
}

#[test]
fn h23_an_extension_that_was_not_offered_is_an_error_and_writes_nothing() {
    let offered = plain_but("Sec-WebSocket-Extensions", &["permessage-deflate; client_max_window_bits"]);
    for (bad, error) in [
        ("x", AnswerError::ExtensionNotOffered),
        ("permessage-deflate, x", AnswerError::ExtensionNotOffered),
        ("Permessage-Deflate", AnswerError::ExtensionNotOffered),
        ("", AnswerError::ExtensionsMalformed),
        ("permessage-deflate;", AnswerError::ExtensionsMalformed),
        ("permessage-deflate\r\nX: y", AnswerError::ExtensionsMalformed),
    ] {
        let answer = Answer { extensions: Some(bad), ..Answer::default() };
        assert_eq!(accepted(&offered, answer), Err(error), "{bad:?}");
    }
    let answer = Answer { extensions: Some("permessage-deflate; server_no_context_takeover"), ..Answer::default() };
    assert!(
        accepted(&offered, answer).unwrap().contains("\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_")
    );
}

#[test]
fn h25_a_header_with_cr_lf_or_nul_is_an_error_and_writes_nothing() {
    let lines = plain();
    for (header, error) in [
        (("X-A", "a\rb"), FieldError::Value),
        (("X-A", "a\nb"), FieldError::Value),
        (("X-A", "a\r\nX-B: c"), FieldError::Value),
        (("X-A", "a\0b"), FieldError::Value),
        (("X-A", "\x7f"), FieldError::Value),
        (("X-A\r\n", "b"), FieldError::Name),
        (("X A", "b"), FieldError::Name),
        (("X\0", "b"), FieldError::Name),
        (("", "b"), FieldError::Name),
        (("Connection", "close"), FieldError::Reserved),
        (("upgrade", "h2c"), FieldError::Reserved),
        (("SEC-WEBSOCKET-Accept", "x"), FieldError::Reserved),
        (("Sec-WebSocket-Protocol", "x"), FieldError::Reserved),
        (("Content-Length", "1"), FieldError::Reserved),
        (("Transfer-Encoding", "chunked"), FieldError::Reserved),
    ] {
        let headers = [("X-Good", "1"), header];
        let answer = Answer { headers: &headers, ..Answer::default() };
        assert_eq!(accepted(&lines, answer), Err(AnswerError::Field(error)), "{header:?}");
        let mut out = Output::new();
        assert_eq!(Rejection::Version.write_with(&headers, &mut out), Err(ResponseError::Field(error)));
        assert!(out.is_empty());
    }
    let headers = [("Set-Cookie", "a=b; Secure"), ("X-Empty", "")];
    let answer = accepted(&lines, Answer { headers: &headers, ..Answer::default() }).unwrap();
    assert!(answer.ends_with("\r\nSet-Cookie: a=b; Secure\r\nX-Empty: \r\n\r\n"));
    let mut out = Output::new();
    Rejection::NoUpgrade.write_with(&[("Retry-After", "5")], &mut out).unwrap();
    assert_answer(&written(&out), "426 Upgrade Required", &["Retry-After: 5", "Upgrade: websocket"]);
}

#[test]
fn a_rejection_fits_where_the_output_is_full_and_a_101_is_refused_whole() {
    let mut out = Output::with_limit(100);
    out.push(&[b'x'; 90]).unwrap();
    let lines = plain();
    assert!(check(&lines).unwrap().accept(Answer::default()).unwrap().write(&mut out).is_err());
    assert_eq!(out.len(), 90);
    Rejection::KeyMissing.write(&mut out);
    assert!(written(&out)[90..].starts_with("HTTP/1.1 400 "));
}

#[test]
fn every_rejection_has_a_short_answer_with_its_text_as_the_body() {
    let refused = check_with(&UpgradeConfig::default(), &plain_but("Origin", &["null"])).unwrap_err();
    for rejection in [
        Rejection::Method,
        Rejection::HttpVersion,
        Rejection::Host,
        Rejection::NoUpgrade,
        Rejection::NoConnection,
        Rejection::Version,
        Rejection::KeyMissing,
        Rejection::KeyRepeated,
        Rejection::KeyMalformed,
        Rejection::Body,
        refused,
        Rejection::OriginRepeated,
        Rejection::Protocols,
        Rejection::Extensions,
    ] {
        let answer = rejected(rejection);
        assert_answer(&answer, &format!("{} {}", rejection.status(), rejection.reason()), &[]);
        assert!(
            answer.len() < LAST_ANSWER / 2
                && (answer.ends_with(&format!("\r\n\r\n{rejection}\n")) || rejection == Rejection::Method)
        );
        for (name, value) in rejection.headers() {
            assert!(answer.contains(&format!("\r\n{name}: {value}\r\n")));
        }
    }
}

#[test]
fn more_than_four_lines_of_a_list_are_refused() {
    for (name, rejection) in
        [("Sec-WebSocket-Protocol", Rejection::Protocols), ("Sec-WebSocket-Extensions", Rejection::Extensions)]
    {
        assert!(check(&plain_but(name, &["a"; 4])).is_ok());
        assert_eq!(check(&plain_but(name, &["a"; 5])).unwrap_err(), rejection);
    }
}

/// Some headers of a request, good and bad, to be shuffled.
fn some_lines() -> impl Strategy<Value = Lines> {
    let optional = prop_oneof![
        Just(("Origin", "http://example.com")),
        Just(("Origin", "http://evil.io")),
        Just(("Sec-WebSocket-Protocol", "a, b")),
        Just(("Sec-WebSocket-Extensions", "permessage-deflate")),
        Just(("Sec-WebSocket-Version", "8")),
        Just(("Cookie", "a=b")),
        Just(("Upgrade", "h2c")),
        Just(("Connection", "keep-alive")),
    ];
    proptest::collection::vec(optional, 0..4).prop_map(|optional| {
        let mut lines = plain();
        lines.extend(with(&optional));
        lines
    })
}

proptest! {
    #[test]
    fn order_and_case_of_header_lines_do_not_matter(lines in some_lines(), seed: u64) {
        let outcome = |lines: &Lines| check(lines).map(|upgrade| upgrade.protocols().collect::<Vec<_>>().len());
        let expected = outcome(&lines);
        let mut random = seed;
        let mut next = || { random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407); (random >> 33) as usize };
        let mut shuffled = lines;
        for at in (1..shuffled.len()).rev() {
            shuffled.swap(at, next() % (at + 1));
        }
        for (name, _) in &mut shuffled {
            *name = name.chars().map(|c| if next() % 2 == 0 { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }).collect();
        }
        prop_assert_eq!(outcome(&shuffled), expected);
    }

    #[test]
    fn names_that_differ_in_one_byte_are_other_names(at in 0usize..17, byte: u8) {
        let mut name = b"sec-websocket-key".to_vec();
        prop_assume!(!name[at].eq_ignore_ascii_case(&byte));
        name[at] = byte;
        let mut lines: Vec<(Vec<u8>, Vec<u8>)> =
            plain_but("Sec-WebSocket-Key", &[]).into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        lines.push((name, b"dGhlIHNhbXBsZSBub25jZQ==".to_vec()));
        let headers = lines.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
        let outcome = Upgrade::check(&UpgradeConfig::default(), "GET", Version::Http11, headers);
        prop_assert_eq!(outcome.unwrap_err(), Rejection::KeyMissing);
    }

    #[test]
    fn junk_never_panics_and_every_answer_is_one(
        junk in proptest::collection::vec((0usize..8, proptest::collection::vec(any::<u8>(), 0..40)), 0..6),
    ) {
        const NAMES: [&str; 8] = ["Host", "Origin", "Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Protocol",
            "Sec-WebSocket-Extensions", "Sec-WebSocket-Version"];
        let plain = plain();
        let headers = plain.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
            .chain(junk.iter().map(|(name, value)| (NAMES[*name], value.as_slice())));
        match Upgrade::check(&UpgradeConfig::default(), "GET", Version::Http11, headers) {
            Ok(upgrade) => {
                for protocol in upgrade.protocols() {
                    let answer = Answer { protocol: Some(protocol), ..Answer::default() };
                    prop_assert!(upgrade.accept(answer).is_ok());
                }
                for extension in upgrade.extensions() {
                    let answer = Answer { extensions: Some(extension.name()), ..Answer::default() };
                    prop_assert!(upgrade.accept(answer).is_ok());
                }
            }
            Err(rejection) => prop_assert!(rejected(rejection).starts_with("HTTP/1.1 4")),
        }
    }
}

#[test]
fn h22_an_absolute_target_names_the_host_that_the_origin_is_compared_with() {
    let check = |target: &str, host: &str, origin: &str| {
        let mut head = format!(
            "GET {target} HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        .into_bytes();
        let mut input = Input::new(&mut head);
        let head = RequestReader::new().read(&HeadLimits::default(), &mut input).unwrap().unwrap();
        Upgrade::check_head(&UpgradeConfig::default(), &head).map(|_| ())
    };
    assert_eq!(check("http://a/chat?x", "b", "http://a"), Ok(()));
    assert_eq!(check("http://a:81?x=/", "b", "http://a:81"), Ok(()));
    assert!(matches!(check("http://a/chat", "b", "http://b"), Err(Rejection::Origin(_))));
    // In the other form an authority later in the target is none.
    assert_eq!(check("/chat?http://a/", "b", "http://b"), Ok(()));
    assert!(matches!(check("/chat?http://a/", "b", "http://a"), Err(Rejection::Origin(_))));
}
