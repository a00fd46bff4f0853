//! A browser's request is read, checked and answered without touching the heap.

mod counting;

use counting::counts;
use tautline::http::origin::OriginPolicy;
use tautline::http::upgrade::{Answer, Upgrade, UpgradeConfig};
use tautline::http::url::Scheme;
use tautline::http::{HeadLimits, RequestReader};
use tautline::{Input, Output};

/// What Chrome sends.
const REQUEST: &[u8] = b"GET /chat HTTP/1.1\r\n\
    Host: chat.example.com\r\n\
    Connection: Upgrade\r\n\
    Pragma: no-cache\r\n\
    Cache-Control: no-cache\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36\r\n\
    Upgrade: websocket\r\n\
    Origin: https://chat.example.com\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en-US;q=0.9,en;q=0.8\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: v2.chat, v1.chat\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
    \r\n";

#[test]
fn a_browsers_request_is_answered_without_an_allocation() {
    let listed = OriginPolicy::listed(["https://other.example", "https://chat.example.com"]).unwrap();
    for origins in [OriginPolicy::Same, listed, OriginPolicy::Any] {
        let config = UpgradeConfig { origins, scheme: Scheme::Https };
        let mut out = Output::new();
        let mut bytes = REQUEST.to_vec();
        for round in 0..3 {
            let before = counts().calls;
            let mut input = Input::new(&mut bytes);
            let head = RequestReader::new().read(&HeadLimits::default(), &mut input).unwrap().unwrap();
            let upgrade = Upgrade::check_head(&config, &head).unwrap();
            let protocol = upgrade.choose_protocol(&["v1.chat", "v2.chat"]);
            let answer = Answer { protocol, headers: &[("Set-Cookie", "a=b")], ..Answer::default() };
            upgrade.accept(answer).unwrap().write(&mut out).unwrap();
            let len = out.len();
            out.advance(len);
            assert!(len > 129);
            // The output's own buffer is made once.
            assert_eq!(counts().calls - before, u64::from(round == 0));
        }
    }
}
