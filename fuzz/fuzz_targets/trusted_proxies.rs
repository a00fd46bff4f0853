//! A list of proxies, the socket's address, and what the fields of a request say of its client.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::net::{IpAddr, Ipv4Addr};
use tautline::Input;
use tautline::http::{HeadLimits, RequestReader};
use tautline::net::{ForwardedField, TrustedProxies};

fuzz_target!(|data: &[u8]| trusted_proxies(data));

/// The list up to the first line end, the socket's address up to the second, then header lines.
fn trusted_proxies(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == b'\n');
    let mut text = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let (list, socket) = (text(), text());
    let lines = parts.next().unwrap_or_default();
    let socket: Option<IpAddr> = (socket != "unix").then(|| socket.parse().unwrap_or(Ipv4Addr::LOCALHOST.into()));
    let Ok(proxies) = list.parse::<TrustedProxies>() else { return };

    let mut bytes = [b"GET / HTTP/1.1\r\nHost: a\r\n", lines, b"\r\n\r\n"].concat();
    let mut input = Input::new(&mut bytes);
    let Ok(Some(head)) = RequestReader::new().read(&HeadLimits::default(), &mut input) else { return };
    for field in [ForwardedField::XForwardedFor, ForwardedField::Forwarded] {
        let proxies = TrustedProxies { field, ..proxies.clone() };
        let client = proxies.client(socket, &head.headers());
        let of_socket = socket.map(|address| address.to_canonical());
        // Whoever is not named says nothing, and nobody vanishes.
        if socket.is_some_and(|address| !proxies.contains(address)) {
            assert_eq!(client, of_socket);
        }
        assert!(client.is_some() || socket.is_none());
        assert_eq!(client, client.map(|address| address.to_canonical()));
        // Nobody named: the field is never read.
        assert_eq!(TrustedProxies { field, ..TrustedProxies::default() }.client(socket, &head.headers()), of_socket);
    }
}
