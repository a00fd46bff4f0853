//! The servers on tokio that `servers` measures, written as their own examples are: one thread, a task per connection.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::ExitCode;

use axum::Router;
use axum::extract::State;
use axum::response::sse::{Event, Sse};
use axum::routing::{get, post};
use bytes::Bytes;
use fastwebsockets::{FragmentCollector, OpCode, WebSocketError, upgrade};
use futures_util::stream::Stream;
use futures_util::{FutureExt, SinkExt, StreamExt};
use http_body_util::Empty;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::broadcast;
use tokio_websockets::{Message, ServerBuilder, WebSocketStream};

const USAGE: &str = "\
usage: tokio_peers PEER --port P [--mode MODE] [--level N]
  PEER     fastwebsockets (echo), tokio-websockets (echo, broadcast), axum (broadcast, of events), yawc (echo, compressed)
  --mode   echo (default) or broadcast
  --level  zlib's level for yawc (default 6)";

/// Publications that a slow subscriber may be behind. The load has one at a time.
const BEHIND: usize = 16;

fn main() -> ExitCode {
    match arguments(std::env::args().skip(1)).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tokio_peers: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Arguments {
    peer: String,
    port: u16,
    mode: String,
    level: u32,
}

fn arguments(mut arguments: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let peer = arguments.next().ok_or(USAGE)?;
    let (mut port, mut mode, mut level) = (None, "echo".to_owned(), 6);
    while let Some(option) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{option} needs a value"))?;
        match option.as_str() {
            "--port" => port = Some(value.parse().map_err(|_| "not a port")?),
            "--mode" => mode = value,
            "--level" => level = value.parse().map_err(|_| "not a level")?,
            _ => return Err(format!("unknown option {option}\n{USAGE}")),
        }
    }
    Ok(Arguments { peer, port: port.ok_or(USAGE)?, mode, level })
}

fn run(Arguments { peer, port, mode, level }: Arguments) -> Result<(), String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let listener = listen(port).map_err(|error| error.to_string())?;
        match (peer.as_str(), mode.as_str()) {
            ("fastwebsockets", "echo") => accept(listener, fastwebsockets_echo).await,
            ("tokio-websockets", "echo") => accept(listener, tokio_websockets_echo).await,
            ("tokio-websockets", "broadcast") => {
                let (topic, _) = broadcast::channel(BEHIND);
                accept(listener, move |stream| tokio_websockets_broadcast(stream, topic.clone())).await
            }
            ("yawc", "echo") => accept(listener, move |stream| yawc_echo(stream, level)).await,
            ("axum", "broadcast") => axum_events(listener).await,
            _ => Err(USAGE.to_owned()),
        }
    })
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
    // What is accepted inherits it.
    socket.set_nodelay(true)?;
    socket.listen(4096)
}

async fn accept<F: Future<Output = ()> + 'static>(
    listener: TcpListener,
    serve: impl Fn(TcpStream) -> F,
) -> Result<(), String> {
    let tasks = tokio::task::LocalSet::new();
    tasks
        .run_until(async {
            loop {
                let (stream, _) = listener.accept().await.map_err(|error| error.to_string())?;
                tokio::task::spawn_local(serve(stream));
            }
        })
        .await
}

/// As its example `echo_server`: hyper up to the upgrade, then one write per frame.
async fn fastwebsockets_echo(stream: TcpStream) {
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(fastwebsockets_upgrade));
    // A connection that ends early is the client's business.
    let _ = connection.with_upgrades().await;
}

async fn fastwebsockets_upgrade(mut request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, WebSocketError> {
    let (response, upgraded) = upgrade::upgrade(&mut request)?;
    tokio::spawn(tokio::task::unconstrained(async move {
        let mut socket = FragmentCollector::new(upgraded.await?);
        loop {
            let frame = socket.read_frame().await?;
            match frame.opcode {
                OpCode::Close => return Ok::<(), WebSocketError>(()),
                OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
                _ => {}
            }
        }
    }));
    Ok(response)
}

/// As its example `echo_server`: hyper up to the upgrade. With permessage-deflate, which by default keeps the context both ways, and the check
/// of text, which by default it does without.
async fn yawc_echo(stream: TcpStream, level: u32) {
    let service = service_fn(async |mut request: Request<Incoming>| {
        let level = yawc::CompressionLevel::new(level);
        let options = yawc::Options::default().with_compression_level(level).with_utf8();
        let (response, upgraded) = yawc::WebSocket::upgrade_with_options(&mut request, options)?;
        tokio::spawn(tokio::task::unconstrained(yawc_serve(upgraded)));
        Ok::<_, yawc::WebSocketError>(response)
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let _ = connection.with_upgrades().await;
}

/// Answers all messages that are at hand before it flushes.
async fn yawc_serve(upgraded: yawc::UpgradeFut) -> Result<(), yawc::WebSocketError> {
    let mut socket = upgraded.await?;
    loop {
        let mut next = Some(socket.next_frame().await?);
        while let Some(frame) = next {
            if matches!(frame.opcode(), yawc::OpCode::Text | yawc::OpCode::Binary) {
                socket.feed(frame).await?;
            }
            next = socket.next_frame().now_or_never().transpose()?;
        }
        socket.flush().await?;
    }
}

/// Takes all messages that are at hand before it answers, so that what came together leaves together: with an answer in
/// its queue, reading would flush that first.
async fn tokio_websockets_echo(stream: TcpStream) {
    let Ok((_, mut socket)) = ServerBuilder::new().accept(stream).await else { return };
    let mut messages = Vec::new();
    while let Some(Ok(message)) = socket.next().await {
        messages.push(message);
        while let Some(next) = socket.next().now_or_never() {
            let Some(Ok(message)) = next else { return };
            messages.push(message);
        }
        for message in messages.drain(..) {
            if (message.is_text() || message.is_binary()) && socket.feed(message).await.is_err() {
                return;
            }
        }
        if socket.flush().await.is_err() {
            return;
        }
    }
}

async fn tokio_websockets_broadcast(stream: TcpStream, topic: broadcast::Sender<Message>) {
    let Ok((_, mut socket)) = ServerBuilder::new().accept(stream).await else { return };
    let mut published = topic.subscribe();
    while one_turn(&mut socket, &topic, &mut published).await.is_some() {}
}

/// `None` when the connection is over.
async fn one_turn(
    socket: &mut WebSocketStream<TcpStream>,
    topic: &broadcast::Sender<Message>,
    published: &mut broadcast::Receiver<Message>,
) -> Option<()> {
    tokio::select! {
        message = socket.next() => {
            let message = message?.ok()?;
            if message.is_text() || message.is_binary() {
                // There is a receiver: this connection.
                let _ = topic.send(message);
            }
            Some(())
        }
        message = published.recv() => socket.send(message.ok()?).await.ok(),
    }
}

async fn axum_events(listener: TcpListener) -> Result<(), String> {
    let (topic, _) = broadcast::channel::<Bytes>(BEHIND);
    let routes = Router::new().route("/events", get(events)).route("/broadcast", post(publish)).with_state(topic);
    axum::serve(listener, routes).await.map_err(|error| error.to_string())
}

async fn events(State(topic): State<broadcast::Sender<Bytes>>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let published = topic.subscribe();
    Sse::new(futures_util::stream::unfold(published, async |mut published| {
        let body = published.recv().await.ok()?;
        let event = Event::default().data(String::from_utf8_lossy(&body));
        Some((Ok(event), published))
    }))
}

async fn publish(State(topic): State<broadcast::Sender<Bytes>>, body: Bytes) {
    // Fails where nobody listens.
    let _ = topic.send(body);
}
