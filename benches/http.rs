//! Heads, the upgrade and chunked bodies: `cargo bench --bench http`. Beside other crates: `benches/peers`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use tautline::http::upgrade::{Upgrade, UpgradeConfig};
use tautline::http::{BodyReader, Framing, HeadLimits, RequestReader};
use tautline::{Input, Output};

/// An ordinary request of a browser.
const GET: &[u8] = b"GET /articles/2026/11?page=2 HTTP/1.1\r\nHost: www.example.com\r\nConnection: keep-alive\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9\r\nCookie: session=0123456789abcdef; theme=dark\r\nCache-Control: max-age=0\r\n\r\n";

/// The same browser opening a WebSocket.
const UPGRADE: &[u8] = b"GET /chat HTTP/1.1\r\nHost: www.example.com\r\nConnection: Upgrade\r\nPragma: no-cache\r\n\
    Cache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)\r\n\
    Upgrade: websocket\r\nOrigin: http://www.example.com\r\nSec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate\r\n\
    Accept-Language: en-GB,en;q=0.9\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

fn heads(c: &mut Criterion) {
    let limits = HeadLimits::default();
    let mut group = c.benchmark_group("head");
    for (name, bytes) in [("get", GET), ("upgrade", UPGRADE)] {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        let mut buffer = bytes.to_vec();
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut input = Input::new(&mut buffer);
                let Ok(Some(ref head)) = RequestReader::new().read(&limits, &mut input) else { panic!("a good head") };
                black_box(head.headers().len())
            });
        });
    }
    let mut buffer = GET.to_vec();
    group.bench_function("get, byte by byte", |b| {
        b.iter(|| {
            let mut reader = RequestReader::new();
            for byte in buffer.chunks_mut(1) {
                let mut input = Input::new(byte);
                black_box(reader.read(&limits, &mut input).expect("a good head").is_some());
            }
        });
    });
    group.finish();
}

fn upgrade(c: &mut Criterion) {
    let (limits, config, mut out) = (HeadLimits::default(), UpgradeConfig::default(), Output::new());
    let mut buffer = UPGRADE.to_vec();
    c.bench_function("upgrade: read, checked, answered", |b| {
        b.iter(|| {
            out.clear();
            let mut input = Input::new(&mut buffer);
            let Ok(Some(ref head)) = RequestReader::new().read(&limits, &mut input) else { panic!("a good head") };
            let upgrade = Upgrade::check_head(&config, head).expect("a good upgrade");
            upgrade.accept_plain().write(&mut out).expect("an empty output has room");
            black_box(out.len())
        });
    });
}

fn bodies(c: &mut Criterion) {
    let chunk = [b"400\r\n".to_vec(), vec![b'x'; 0x400], b"\r\n".to_vec()].concat();
    let mut body = [chunk.repeat(60), b"0\r\n\r\n".to_vec()].concat();
    let mut group = c.benchmark_group("body");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("60 chunks of 1 KiB", |b| {
        b.iter(|| {
            let mut reader = BodyReader::new(Framing::Chunked, BodyReader::LIMIT).expect("nothing is announced");
            let mut input = Input::new(&mut body);
            while let Some(event) = reader.read(&mut input).expect("a good body") {
                black_box(event);
            }
        });
    });
    group.finish();
}

criterion_group!(benches, heads, upgrade, bodies);
criterion_main!(benches);
