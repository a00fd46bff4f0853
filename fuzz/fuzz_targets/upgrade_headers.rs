//! Header lines of a request, as junk as they come, through the upgrade check, and the answer that results through a client.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::Arc;
use tautline::http::origin::OriginPolicy;
use tautline::http::upgrade::{Answer, Upgrade, UpgradeConfig};
use tautline::http::url::{Scheme, Url};
use tautline::http::{HeadLimits, RequestReader, Version};
use tautline::ws::{ClientHandshake, HandshakeConfig, HandshakeEvent};
use tautline::{Input, Instant, Output};

fuzz_target!(|data: &[u8]| upgrade_headers(data));

fn upgrade_headers(data: &[u8]) {
    let listed = OriginPolicy::listed(["https://example.com", "null"]).unwrap();
    let configs = [
        UpgradeConfig::default(),
        UpgradeConfig { origins: listed, scheme: Scheme::Https },
        UpgradeConfig { origins: OriginPolicy::Any, scheme: Scheme::Https },
    ];
    // Lines as they are, without a parser in front.
    let lines = data.split(|byte| *byte == b'\n').map(|line| {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        (&line[..colon], line.get(colon + 1..).unwrap_or_default())
    });
    for config in &configs {
        answer(Upgrade::check(config, "GET", Version::Http11, lines.clone()));
    }
    // And behind our own.
    let mut bytes = data.to_vec();
    let mut input = Input::new(&mut bytes);
    if let Ok(Some(head)) = RequestReader::new().read(&HeadLimits::default(), &mut input) {
        answer(Upgrade::check_head(&configs[0], &head));
    }
    // As an answer to a client, whole and cut.
    let whole = client(&[data]);
    let (first, second) = data.split_at(data.len() / 2);
    assert_eq!(whole, client(&[first, second]));
}

/// Writes whatever answer is due; it has to be one.
fn answer(outcome: Result<Upgrade<'_>, tautline::http::upgrade::Rejection>) {
    let mut out = Output::new();
    match outcome {
        Ok(upgrade) => {
            let protocol = upgrade.protocols().last();
            let extensions = upgrade.extensions().last().map(|extension| extension.name());
            for extension in upgrade.extensions() {
                extension.params().filter_map(|param| param.value).for_each(|value| assert!(value.bytes().count() > 0));
            }
            upgrade.accept(Answer { protocol, extensions, headers: &[] }).unwrap().write(&mut out).unwrap();
        }
        Err(rejection) => rejection.write(&mut out),
    }
    let bytes: Vec<u8> = out.chunks().flatten().copied().collect();
    assert!(bytes.starts_with(b"HTTP/1.1 ") && bytes.windows(4).any(|four| four == b"\r\n\r\n"));
}

/// What a client makes of `pieces`: whether it opened, the status of a refusal, and whether it failed.
fn client(pieces: &[&[u8]]) -> (bool, Option<u16>, Vec<u8>, bool) {
    let config = HandshakeConfig { protocols: vec!["chat".into()], ..HandshakeConfig::default() };
    let url = Url::parse("ws://example.com/").unwrap();
    let mut handshake = ClientHandshake::new(&url, Arc::new(config), *b"the sample nonce", Instant::ORIGIN).unwrap();
    let mut out = Output::new();
    let (mut opened, mut refused, mut body, mut failed) = (false, None, Vec::new(), false);
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut input = Input::new(&mut piece);
        loop {
            match handshake.next_event(&mut input, &mut out, Instant::ORIGIN) {
                Ok(Some(HandshakeEvent::Open(_))) => opened = true,
                Ok(Some(HandshakeEvent::Refused(refusal))) => refused = Some(refusal.status()),
                Ok(Some(HandshakeEvent::Body(bytes))) => body.extend_from_slice(bytes),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => failed = true,
            }
        }
    }
    (opened, refused, body, failed)
}
