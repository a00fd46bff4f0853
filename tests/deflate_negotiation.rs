//! Offers of permessage-deflate and answers to them (RFC 7692 sections 5 and 7.1): rows D5 to D7 of the list of bad inputs.
#![cfg(feature = "deflate")]

mod deflating;

use deflating::{accept, agree, confirm};
use proptest::prelude::*;
use tautline::ws::{
    DeflateConfig, DeflateConfigError, HandshakeConfig, HandshakeConfigError, HandshakeError, Takeover,
};

const DEFAULT: DeflateConfig = DeflateConfig::DEFAULT;

/// As much as a server can grant.
const ALL: DeflateConfig =
    DeflateConfig { server_takeover: Takeover::Kept, client_takeover: Takeover::Kept, ..DEFAULT };

fn answer(config: &DeflateConfig, offers: &[&str]) -> Option<String> {
    accept(config, offers).map(|agreed| agreed.answer())
}

#[test]
fn the_default_server_keeps_no_context_and_asks_the_client_not_to() {
    let both = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    assert_eq!(answer(&DEFAULT, &["permessage-deflate"]).as_deref(), Some(both));
    assert_eq!(answer(&DEFAULT, &["permessage-deflate; client_max_window_bits"]).as_deref(), Some(both));
    assert_eq!(answer(&ALL, &["permessage-deflate; client_max_window_bits"]).as_deref(), Some("permessage-deflate"));
}

#[test]
fn each_parameter_of_an_offer_is_answered_by_the_lesser_of_both_wishes() {
    for (config, offer, expected) in [
        (ALL, "; server_no_context_takeover", "; server_no_context_takeover"),
        (ALL, "; client_no_context_takeover", "; client_no_context_takeover"),
        (ALL, "; server_max_window_bits=10", "; server_max_window_bits=10"),
        // 7.1.2.1: accepted "by including" it, whatever the value.
        (ALL, "; server_max_window_bits=15", "; server_max_window_bits=15"),
        // A hint, which a server need not take up.
        (ALL, "; client_max_window_bits=11", ""),
        (ALL, "; client_max_window_bits=15", ""),
        (DeflateConfig { client_window: 14, ..ALL }, "; client_max_window_bits=11", "; client_max_window_bits=11"),
        (DeflateConfig { server_window: 12, ..ALL }, "", "; server_max_window_bits=12"),
        (DeflateConfig { server_window: 12, ..ALL }, "; server_max_window_bits=14", "; server_max_window_bits=12"),
        (DeflateConfig { server_window: 12, ..ALL }, "; server_max_window_bits=9", "; server_max_window_bits=9"),
        // The client's window may be named only to one that says that it understands it (7.1.2.2).
        (DeflateConfig { client_window: 12, ..ALL }, "", ""),
        (DeflateConfig { client_window: 12, ..ALL }, "; client_max_window_bits", "; client_max_window_bits=12"),
        (DeflateConfig { client_window: 12, ..ALL }, "; client_max_window_bits=10", "; client_max_window_bits=10"),
    ] {
        let answered = answer(&config, &[&format!("permessage-deflate{offer}")]).expect("accepted");
        assert_eq!(answered, format!("permessage-deflate{expected}"), "{offer} {config:?}");
    }
}

#[test]
fn d5_a_server_window_of_256_bytes_is_declined_and_a_clients_is_kept_to() {
    for config in [DEFAULT, ALL] {
        assert_eq!(accept(&config, &["permessage-deflate; server_max_window_bits=8"]), None);
        let next = "permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=9";
        assert_eq!(accept(&config, &[next]).expect("the next").server_window(), 9);
        // A client that says so of itself is let be, and is held to it where its window is limited at all.
        let agreed = accept(&config, &["permessage-deflate; client_max_window_bits=8"]).expect("accepted");
        assert_eq!((agreed.client_window(), agreed.answer().contains("client_max_window_bits")), (15, false));
        let limited = DeflateConfig { client_window: 12, ..config };
        let agreed = accept(&limited, &["permessage-deflate; client_max_window_bits=8"]).expect("accepted");
        assert_eq!(agreed.client_window(), 8);
        assert!(agreed.answer().ends_with("; client_max_window_bits=8"));
    }
}

#[test]
fn d6_malformed_offers_are_passed_over_and_the_next_is_tried() {
    for bad in [
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=0",
        "server_max_window_bits=015",
        "server_max_window_bits=09",
        "server_max_window_bits=abc",
        "server_max_window_bits=1",
        "server_max_window_bits=100",
        "server_max_window_bits=+9",
        "server_max_window_bits",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=0",
        "client_max_window_bits=015",
        "client_max_window_bits=abc",
        "client_max_window_bits=\"\\016\"",
        "server_no_context_takeover=1",
        "server_no_context_takeover=true",
        "client_no_context_takeover=15",
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover; client_no_context_takeover",
        "server_max_window_bits=10; server_max_window_bits=10",
        "client_max_window_bits; client_max_window_bits",
        "client_max_window_bits; client_max_window_bits=10",
        "unknown",
        "unknown=10",
        "Server_no_context_takeover",
        "x-webkit-deflate-frame",
    ] {
        let bad = format!("permessage-deflate; {bad}");
        assert_eq!(accept(&ALL, &[&bad]), None, "{bad}");
        for offers in [
            &[&*format!("{bad}, permessage-deflate; server_max_window_bits=10")][..],
            &[&bad, "permessage-deflate; server_max_window_bits=10"],
            &[&format!("x-other; a=b, {bad}"), "permessage-deflate; server_max_window_bits=10, permessage-deflate"],
        ] {
            assert_eq!(accept(&ALL, offers).expect("the next").server_window(), 10, "{offers:?}");
        }
    }
    for good in ["server_max_window_bits=\"10\"", "server_max_window_bits=\"1\\0\"", "server_max_window_bits = 10"] {
        let agreed = accept(&ALL, &[&format!("permessage-deflate; {good}")]).expect(good);
        assert_eq!(agreed.server_window(), 10);
    }
    for other in ["permessage-bzip2", "x-permessage-deflate", "PERMESSAGE-DEFLATE", "deflate", ""] {
        assert_eq!(accept(&ALL, &[other]), None, "{other}");
    }
}

#[test]
fn d7_a_client_fails_answers_that_are_none_to_its_offer() {
    let ten = DeflateConfig { client_window: 10, server_window: 10, ..ALL };
    for (config, answer) in [
        (ALL, "server_max_window_bits=16"),
        (ALL, "server_max_window_bits=7"),
        (ALL, "server_max_window_bits"),
        (ALL, "server_max_window_bits=010"),
        (ALL, "client_max_window_bits=16"),
        (ALL, "client_max_window_bits"),
        (ten, "server_max_window_bits=10; client_max_window_bits=11"),
        (ten, "server_max_window_bits=10; client_max_window_bits"),
        (ten, "server_max_window_bits=11"),
        // 7.1.2.1: accepted "by including" the parameter.
        (ten, "client_max_window_bits=10"),
        (ALL, "server_no_context_takeover; server_no_context_takeover"),
        (ALL, "client_no_context_takeover; client_no_context_takeover"),
        (ALL, "server_max_window_bits=10; server_max_window_bits=10"),
        (ALL, "client_max_window_bits=10; client_max_window_bits=9"),
        (ALL, "server_no_context_takeover=1"),
        (ALL, "client_no_context_takeover=1"),
        (ALL, "unknown"),
        (ALL, "unknown=1"),
        // 7.1.1.1: likewise.
        (DEFAULT, "client_no_context_takeover"),
    ] {
        let answer = format!("permessage-deflate; {answer}");
        assert_eq!(confirm(config, &answer), Err(HandshakeError::Deflate), "{answer} {config:?}");
    }
    let twice = confirm(ALL, "permessage-deflate, permessage-deflate");
    assert_eq!(twice, Err(HandshakeError::Extension));
    assert_eq!(confirm(ALL, "x-other"), Err(HandshakeError::Extension));
}

#[test]
fn d7_a_client_accepts_what_a_server_may_say_unasked() {
    for (answer, server_takeover, client_takeover, server_window, client_window) in [
        ("", Takeover::Kept, Takeover::Kept, 15, 15),
        ("; server_no_context_takeover", Takeover::None, Takeover::Kept, 15, 15),
        ("; client_no_context_takeover", Takeover::Kept, Takeover::None, 15, 15),
        ("; server_max_window_bits=8", Takeover::Kept, Takeover::Kept, 8, 15),
        ("; server_max_window_bits=15", Takeover::Kept, Takeover::Kept, 15, 15),
        ("; client_max_window_bits=9", Takeover::Kept, Takeover::Kept, 15, 9),
        ("; client_max_window_bits=8", Takeover::Kept, Takeover::Kept, 15, 8),
        ("; client_max_window_bits=\"12\"", Takeover::Kept, Takeover::Kept, 15, 12),
    ] {
        let agreed = confirm(ALL, &format!("permessage-deflate{answer}")).expect(answer).expect("accepted");
        assert_eq!(
            (agreed.server_takeover(), agreed.client_takeover()),
            (server_takeover, client_takeover),
            "{answer}"
        );
        assert_eq!((agreed.server_window(), agreed.client_window()), (server_window, client_window), "{answer}");
    }
}

#[test]
fn nothing_is_offered_twice_and_nothing_out_of_range() {
    let offers = |extensions: &str, deflate| HandshakeConfig {
        extensions: Some(extensions.into()),
        deflate: Some(deflate),
        ..HandshakeConfig::default()
    };
    assert!(offers("x-own", DEFAULT).check().is_ok());
    let twice = offers("x-own, permessage-deflate", DEFAULT).check();
    assert_eq!(twice.unwrap_err(), HandshakeConfigError::Extensions);
    for (config, error) in [
        (DeflateConfig { level: 0, ..DEFAULT }, DeflateConfigError::Level),
        (DeflateConfig { level: 10, ..DEFAULT }, DeflateConfigError::Level),
        (DeflateConfig { memory: 0, ..DEFAULT }, DeflateConfigError::Memory),
        (DeflateConfig { server_window: 8, ..DEFAULT }, DeflateConfigError::Window),
        (DeflateConfig { client_window: 16, ..DEFAULT }, DeflateConfigError::Window),
    ] {
        assert_eq!(config.check(), Err(error));
        assert_eq!(offers("x-own", config).check().unwrap_err(), HandshakeConfigError::Deflate(error));
        let server = tautline::ws::Config { deflate: Some(config), ..Default::default() };
        assert_eq!(server.check(), Err(tautline::ws::ConfigError::Deflate(error)));
        // Unchecked it does no harm.
        assert!(accept(&config, &[&config.offer()]).is_some());
    }
}

proptest! {
    #[test]
    fn what_one_side_offers_and_the_other_grants_both_understand_alike(
        client in config(), server in config(),
    ) {
        let agreed = accept(&server, &[&client.offer()]).expect("a good offer");
        let confirmed = confirm(client, &agreed.answer()).expect("a good answer").expect("accepted");
        prop_assert_eq!(confirmed.server_takeover(), agreed.server_takeover());
        prop_assert_eq!(confirmed.server_window(), agreed.server_window());
        prop_assert!(agreed.answer().contains("server_max_window_bits") || !client.offer().contains("server_max_window_bits"));
        // The client's own word holds where the server's answer does not name it.
        prop_assert!(confirmed.client_takeover() == agreed.client_takeover() || confirmed.client_takeover() == Takeover::None);
        prop_assert!(confirmed.client_window() <= agreed.client_window());
        prop_assert!(agreed.server_window() <= server.server_window.min(client.server_window));
        prop_assert!(agreed.client_window() <= server.client_window);
        prop_assert!(confirmed.client_window() <= client.client_window);
        if [client.server_takeover, server.server_takeover].contains(&Takeover::None) {
            prop_assert_eq!(agreed.server_takeover(), Takeover::None);
        }
        if [client.client_takeover, server.client_takeover].contains(&Takeover::None) {
            prop_assert_eq!(agreed.client_takeover(), Takeover::None);
        }
    }

    #[test]
    fn any_answer_is_taken_or_failed_without_a_panic(answer in "[a-z_=;, \"0-9]{0,60}") {
        let _ = confirm(ALL, &format!("permessage-deflate; {answer}"));
        let _ = agree(DEFAULT);
    }
}

fn config() -> impl Strategy<Value = DeflateConfig> {
    let takeover = || prop_oneof![Just(Takeover::Kept), Just(Takeover::None)];
    (takeover(), takeover(), 9u8..=15, 9u8..=15).prop_map(
        |(server_takeover, client_takeover, server_window, client_window)| DeflateConfig {
            server_takeover,
            client_takeover,
            server_window,
            client_window,
            ..DEFAULT
        },
    )
}
