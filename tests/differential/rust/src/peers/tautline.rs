//! tautline itself: what it reports must be what it writes, at every cut.

use crate::case::{Agreed, Case, End, Outcome, Role, close_code_written, digest};
use std::sync::Arc;
use tautline::http::Version;
use tautline::http::origin::OriginPolicy;
use tautline::http::upgrade::{Upgrade, UpgradeConfig};
use tautline::ws::{Config, Connection, Deflate, DeflateConfig, Ending, Event, Limits, Takeover};
use tautline::{Buffers, Input, Instant, Output};

/// What tautline makes of a case. Panics where a call breaks its contract.
pub fn tautline(case: &Case) -> Outcome {
    read(case, Limits { control_rate: u32::MAX, control_burst: u32::MAX, ..Limits::DEFAULT })
}

/// The same with the default limits on control frames, which others do not have.
pub fn tautline_by_default(case: &Case) -> Outcome {
    read(case, Limits::DEFAULT)
}

fn read(case: &Case, limits: Limits) -> Outcome {
    let limits = Limits { message: case.limit, frame: case.limit, fragments: case.fragments, ..limits };
    let config = Config { limits, ..Config::DEFAULT }.check().expect("limits of a case are valid");
    let connect = if case.role == Role::Server { Connection::server } else { Connection::client };
    let mut connection = connect(Arc::new(config), [7; 16], Instant::ORIGIN);
    if let Some(deflate) = case.deflate.map(agree) {
        connection = connection.with_deflate(deflate);
    }
    let mut out = Output::with_limit(64 << 20);
    let mut buffers = Buffers::new();
    let mut outcome = Outcome::default();
    let mut end = None;
    let mut failed = None;
    // Empty reads at the end: an end may be owed.
    for piece in case.pieces().chain([&[][..]]) {
        let mut piece = piece.to_vec();
        let mut input = Input::with_buffers(&mut piece, &mut buffers);
        loop {
            match connection.next_event(&mut input, &mut out, Instant::ORIGIN) {
                Ok(None) => {
                    assert!(input.is_empty(), "`None` with bytes left");
                    break;
                }
                Err(error) => {
                    assert!(failed.is_none() && end.is_none(), "one failure, before the end");
                    failed = Some(error);
                }
                Ok(Some(event)) => {
                    assert!(end.is_none(), "{event:?} behind the end");
                    match event {
                        Event::Closed(closed) => {
                            end = Some(match closed.ending {
                                Ending::Failed(error) => {
                                    assert_eq!(failed, Some(error), "the end says the failure");
                                    End::Failed(Some(error.close_code().as_u16()))
                                }
                                Ending::Peer => {
                                    End::Peer { code: closed.code, reason: reason(closed.reason), echo: None }
                                }
                                other => End::Crash(format!("{other:?}")),
                            });
                        }
                        _ if failed.is_some() => panic!("{event:?} behind a failure"),
                        Event::Text(text) => {
                            // The bytes of a `str` are proved by another than the code under test.
                            assert!(std::str::from_utf8(text.as_bytes()).is_ok(), "text that is not UTF-8");
                            outcome.event('t', text.as_bytes());
                        }
                        Event::Binary(bytes) => outcome.event('b', bytes),
                        Event::Ping(payload) => outcome.event('i', payload),
                        Event::Pong { payload, .. } => outcome.event('o', payload),
                        other => panic!("not asked for: {other:?}"),
                    }
                }
            }
        }
    }
    assert!(failed.is_none() || end.is_some(), "a failure ends the connection");
    let wire = out.chunks().collect::<Vec<_>>().concat();
    let written = close_code_written(&wire, case.role);
    outcome.end = match end {
        None => {
            assert_eq!(written, None, "a Close frame, and still open");
            End::Open
        }
        Some(End::Peer { code, reason, .. }) => End::Peer { code, reason, echo: written },
        Some(End::Failed(code)) => {
            assert_eq!(written, code, "the Close frame says why");
            End::Failed(code)
        }
        Some(other) => other,
    };
    outcome
}

pub(super) fn reason(reason: &str) -> String {
    if reason.is_empty() { "=".into() } else { digest(reason.as_bytes()) }
}

/// The agreement, come to as on the wire: by an offer and its acceptance.
fn agree(agreed: Agreed) -> Deflate {
    let takeover = |none| if none { Takeover::None } else { Takeover::Kept };
    let config = DeflateConfig {
        server_takeover: takeover(agreed.server_no_takeover),
        client_takeover: takeover(agreed.client_no_takeover),
        server_window: agreed.server_bits,
        client_window: agreed.client_bits,
        ..DeflateConfig::DEFAULT
    };
    let offer = config.offer();
    let head: [(&str, &[u8]); 6] = [
        ("Host", b"a"),
        ("Connection", b"Upgrade"),
        ("Upgrade", b"websocket"),
        ("Sec-WebSocket-Version", b"13"),
        ("Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Extensions", offer.as_bytes()),
    ];
    let policy = UpgradeConfig { origins: OriginPolicy::Any, ..UpgradeConfig::default() };
    let upgrade = Upgrade::check(&policy, "GET", Version::Http11, head).expect("a good head");
    let deflate = config.accept(upgrade.extensions()).expect("its own offer");
    assert_eq!((deflate.server_window(), deflate.client_window()), (agreed.server_bits, agreed.client_bits));
    assert_eq!(
        (deflate.server_takeover(), deflate.client_takeover()),
        (config.server_takeover, config.client_takeover)
    );
    deflate
}
