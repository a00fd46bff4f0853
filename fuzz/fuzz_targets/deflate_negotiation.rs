//! permessage-deflate in `Sec-WebSocket-Extensions`: any lines as offers to a server and as an answer to a client, with any settings.
//!
//! - Never a panic. A naive reader of the parameters agrees about which offer is taken, and what it comes to; nothing beyond what was
//!   offered and configured is.
//! - An answer may be sent, and our own client takes the same from it, where it made the offer.
//! - A client takes those answers that a naive reader takes, and no other.
#![no_main]

mod naive;
#[path = "../../tests/ws_wire/mod.rs"]
mod wire;

use libfuzzer_sys::fuzz_target;
use naive::{Steps, accepted};
use std::sync::Arc;
use tautline::http::Version;
use tautline::http::origin::OriginPolicy;
use tautline::http::upgrade::{Answer, Upgrade, UpgradeConfig, accept_value, key_value};
use tautline::http::url::Url;
use tautline::ws::{
    ClientHandshake, Deflate, DeflateConfig, HandshakeConfig, HandshakeError, HandshakeEvent, Takeover,
};
use tautline::{Input, Instant, Output};

const NONCE: [u8; 16] = *b"the sample nonce";

fuzz_target!(|data: &[u8]| deflate_negotiation(data));

fn deflate_negotiation(data: &[u8]) {
    let mut steps = Steps::new(data, 0);
    let (server, client) = (steps.deflate(), steps.deflate());
    let lines: Vec<&[u8]> = steps.rest.split(|byte| *byte == b'\n').collect();
    offered(&server, &lines);
    agree(&server, &client);
    answered(&client, &lines);
}

/// What was agreed upon: whether server and client keep their contexts, and their windows.
type Agreed = (bool, bool, u8, u8);

fn agreed(deflate: &Deflate) -> Agreed {
    let kept = |takeover| takeover == Takeover::Kept;
    (kept(deflate.server_takeover()), kept(deflate.client_takeover()), deflate.server_window(), deflate.client_window())
}

/// Settings as they are used: brought into range.
fn settled(config: &DeflateConfig) -> Agreed {
    let kept = |takeover| takeover == Takeover::Kept;
    let window = |window: u8| window.clamp(9, 15);
    (
        kept(config.server_takeover),
        kept(config.client_takeover),
        window(config.server_window),
        window(config.client_window),
    )
}

fn offered(config: &DeflateConfig, lines: &[&[u8]]) {
    let head: [(&str, &[u8]); 5] = [
        ("Host", b"a"),
        ("Connection", b"Upgrade"),
        ("Upgrade", b"websocket"),
        ("Sec-WebSocket-Version", b"13"),
        ("Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let head = head.into_iter().chain(lines.iter().map(|line| ("Sec-WebSocket-Extensions", *line)));
    let policy = UpgradeConfig { origins: OriginPolicy::Any, ..UpgradeConfig::default() };
    let Ok(upgrade) = Upgrade::check(&policy, "GET", Version::Http11, head) else { return };
    let taken = config.accept(upgrade.extensions());

    let ours = settled(config);
    let naive = elements(lines).iter().find_map(|offer| {
        let offer = Params::read(offer)?;
        let server = offer.server_window.unwrap_or(15).min(ours.2);
        let client = match offer.client_window {
            // What a client says of itself is taken up only where its window is limited at all.
            Some(most) if ours.3 < 15 => most.unwrap_or(15).min(ours.3),
            _ => 15,
        };
        (server > 8).then_some((
            (ours.0 && !offer.server_stands_alone, ours.1 && !offer.client_stands_alone, server, client),
            offer,
        ))
    });
    assert_eq!(taken.as_ref().map(agreed), naive.as_ref().map(|(agreed, _)| *agreed));
    let (Some(taken), Some((_, offer))) = (taken, naive) else { return };

    // RFC 7692 section 7.1: what an answer may and must say.
    let text = taken.answer();
    let answer = Params::read(&elements(&[text.as_bytes()])[0]).expect("an answer is well-formed");
    let (server_kept, client_kept, server, client) = agreed(&taken);
    assert_eq!((answer.server_stands_alone, answer.client_stands_alone), (!server_kept, !client_kept));
    assert!(answer.server_stands_alone || !offer.server_stands_alone);
    assert_eq!(answer.server_window.unwrap_or(15), server);
    assert!(server <= offer.server_window.unwrap_or(15));
    assert!(offer.server_window.is_none() || answer.server_window.is_some());
    match (offer.client_window, answer.client_window) {
        (None, answer) => assert_eq!((answer, client), (None, 15), "not offered"),
        (Some(_), None) => assert_eq!(client, 15),
        (Some(most), Some(window)) => {
            assert!(window == Some(client) && client <= most.unwrap_or(15), "{text}");
        }
    }
    let mut out = Output::new();
    let accepted = upgrade.accept(Answer { extensions: Some(&text), ..Answer::default() });
    accepted.expect("an answer to the offer").write(&mut out).expect("room");
}

/// Our own client takes our own server's answer as the server means it.
fn agree(server: &DeflateConfig, client: &DeflateConfig) {
    let deflate = accepted(server, &client.offer()).expect("a good offer");
    let answer = deflate.answer();
    let checked = client.check().is_ok();
    match handshake(client, &[answer.as_bytes()]) {
        Some(Ok(taken)) => {
            // Its own limit holds where the answer has none.
            let server = agreed(&deflate);
            let expected = (server.0, server.1, server.2, server.3.min(settled(client).3));
            assert_eq!(taken.as_ref().map(agreed), Some(expected), "{answer}");
        }
        Some(Err(error)) => panic!("{error} at {answer}"),
        None => assert!(!checked, "settings that were checked are used"),
    }
    let (server, client, taken) = (settled(server), settled(client), agreed(&deflate));
    assert_eq!((taken.0, taken.1), (server.0 && client.0, server.1 && client.1));
    let limited = if server.3 < 15 { server.3.min(client.3) } else { 15 };
    assert_eq!((taken.2, taken.3), (server.2.min(client.2), limited));
}

fn answered(config: &DeflateConfig, lines: &[&[u8]]) {
    let Some(outcome) = handshake(config, lines) else { return };
    let elements = elements(lines);
    let answers: Vec<_> = elements.iter().filter(|element| element.name == "permessage-deflate").collect();
    let ours = settled(config);
    let naive = match answers[..] {
        [] => Some(None),
        [answer] => Params::read(answer).and_then(|answer| {
            let server = answer.server_window.unwrap_or(15);
            let client = match answer.client_window {
                None => ours.3,
                Some(window) => window?,
            };
            // What was asked for is granted, and what was not is no harm where it binds the server alone.
            let granted = (ours.0 || answer.server_stands_alone) && server <= ours.2 && client <= ours.3;
            granted.then_some(Some((
                !answer.server_stands_alone,
                ours.1 && !answer.client_stands_alone,
                server,
                client,
            )))
        }),
        _ => None,
    };
    match outcome {
        Ok(taken) => assert_eq!(Some(taken.as_ref().map(agreed)), naive),
        Err(HandshakeError::Deflate) => assert_eq!(naive, None),
        // One twice, one that was not offered, one that is none, or no head at all.
        Err(HandshakeError::Extension) => {
            assert!(elements.len() > 1 || elements.iter().any(|element| element.name != "permessage-deflate"));
        }
        Err(HandshakeError::ExtensionsMalformed | HandshakeError::Head(_)) => {}
        Err(error) => panic!("{error}"),
    }
}

/// What a client that offers as `config` says makes of a 101 with these lines, if it can offer so.
fn handshake(config: &DeflateConfig, lines: &[&[u8]]) -> Option<Result<Option<Deflate>, HandshakeError>> {
    let config = HandshakeConfig { deflate: Some(*config), ..HandshakeConfig::default() };
    let url = Url::parse("ws://example.com/").expect("a URL");
    let mut handshake = ClientHandshake::new(&url, Arc::new(config), NONCE, Instant::ORIGIN).ok()?;
    let mut head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n".to_vec();
    let mut field = |name: &str, value: &[u8]| head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    field("Sec-WebSocket-Accept", &accept_value(&key_value(&NONCE)));
    lines.iter().for_each(|line| field("Sec-WebSocket-Extensions", line));
    head.extend(b"\r\n");
    let mut input = Input::new(&mut head);
    Some(match handshake.next_event(&mut input, &mut Output::new(), Instant::ORIGIN) {
        Ok(Some(HandshakeEvent::Open(opened))) => Ok(opened.deflate()),
        Ok(other) => panic!("{other:?} of a whole head"),
        Err(error) => Err(error),
    })
}

/// One extension: its name, and its parameters without the quotes.
struct Element {
    name: String,
    params: Vec<(String, Option<String>)>,
}

/// The elements of lines that keep to the grammar: in those no comma and no semicolon is quoted.
fn elements(lines: &[&[u8]]) -> Vec<Element> {
    let text = lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect::<Vec<_>>().join(",");
    let trim = |part: &str| part.trim_matches([' ', '\t']).to_owned();
    let element = |element: &str| {
        let mut parts = element.split(';');
        let name = trim(parts.next().unwrap_or_default());
        let params = parts
            .map(|param| match param.split_once('=') {
                None => (trim(param), None),
                Some((name, value)) => (trim(name), Some(trim(value).replace(['"', '\\'], ""))),
            })
            .collect();
        Element { name, params }
    };
    text.split(',').map(element).filter(|element| !element.name.is_empty()).collect()
}

/// The parameters of RFC 7692 section 7.1.
#[derive(Debug, Default)]
struct Params {
    server_stands_alone: bool,
    client_stands_alone: bool,
    server_window: Option<u8>,
    /// `Some(None)`: without a value.
    client_window: Option<Option<u8>>,
}

impl Params {
    /// Those of permessage-deflate, if they are well-formed.
    fn read(element: &Element) -> Option<Self> {
        if element.name != "permessage-deflate" {
            return None;
        }
        let mut names: Vec<_> = element.params.iter().map(|(name, _)| name).collect();
        names.sort();
        let count = names.len();
        names.dedup();
        if names.len() < count {
            return None;
        }
        let mut params = Self::default();
        for (name, value) in &element.params {
            let window = match value {
                None => None,
                Some(value) => Some((8..=15).find(|window| window.to_string() == *value)?),
            };
            match (name.as_str(), window) {
                ("server_no_context_takeover", None) => params.server_stands_alone = true,
                ("client_no_context_takeover", None) => params.client_stands_alone = true,
                ("server_max_window_bits", Some(window)) => params.server_window = Some(window),
                ("client_max_window_bits", window) => params.client_window = Some(window),
                _ => return None,
            }
        }
        Some(params)
    }
}
