//! fastwebsockets, on tokio and with hyper's handshake.

use crate::LARGEST_MESSAGE;
use crate::wire::{Command, Kind, Outcome, Role, for_each_command, hex, say, say_closed, say_message};
use bytes::Bytes;
use fastwebsockets::{
    FragmentCollectorRead, Frame, OpCode, Payload, WebSocket, WebSocketError, WebSocketWrite, handshake, upgrade,
};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HOST, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::io::WriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};

type Socket = TokioIo<Upgraded>;
/// Nothing once the connection is over: half a socket holds it open.
type Writer = Option<WebSocketWrite<WriteHalf<Socket>>>;

pub fn run(role: Role) -> Outcome {
    let (sender, mut commands) = mpsc::unbounded_channel();
    std::thread::spawn(move || for_each_command(|command| sender.send(command).is_ok()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (opened, mut sockets) = mpsc::unbounded_channel();
        if role == Role::Server {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            say("listening", &[&listener.local_addr()?.port().to_string()]);
            tokio::spawn(listen(listener, opened));
        } else {
            say("ready", &[]);
        }
        let mut connection: Option<Connection> = None;
        while let Some(command) = commands.recv().await {
            if let Command::Connect(port) = command {
                match connect(port).await {
                    Ok((ws, agreed)) => connection = Some(Connection::new(ws, &agreed)),
                    Err(error) => say("failed", &[&error.to_string()]),
                }
                continue;
            }
            // `open` was said when the connection came, so it is there.
            while let Ok(next) = sockets.try_recv() {
                connection = Some(next);
            }
            let done = match &connection {
                Some(connection) => connection.obey(command).await,
                None => Err(WebSocketError::ConnectionClosed),
            };
            if let Err(error) = done {
                say("failed", &[&error.to_string()]);
            }
        }
        Ok(())
    })
}

async fn listen(listener: TcpListener, opened: mpsc::UnboundedSender<Connection>) {
    while let Ok((socket, _)) = listener.accept().await {
        let _ = socket.set_nodelay(true);
        let opened = opened.clone();
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            let opened = opened.clone();
            async move {
                let answer = upgrade::upgrade(&mut request);
                Ok::<_, Infallible>(match answer {
                    Ok((response, upgraded)) => {
                        tokio::spawn(async move {
                            match upgraded.await {
                                Ok(ws) => drop(opened.send(Connection::new(ws, "-"))),
                                Err(error) => say("failed", &[&error.to_string()]),
                            }
                        });
                        response
                    }
                    Err(error) => {
                        say("failed", &[&error.to_string()]);
                        let mut response = Response::new(Empty::new());
                        *response.status_mut() = hyper::StatusCode::BAD_REQUEST;
                        response
                    }
                })
            }
        });
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service);
        tokio::spawn(connection.with_upgrades());
    }
}

async fn connect(port: u16) -> Result<(WebSocket<Socket>, String), WebSocketError> {
    let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    socket.set_nodelay(true)?;
    let request = Request::get(format!("http://127.0.0.1:{port}/"))
        .header(HOST, format!("127.0.0.1:{port}"))
        .header(UPGRADE, "websocket")
        .header(CONNECTION, "upgrade")
        .header("Sec-WebSocket-Key", handshake::generate_key())
        .header("Sec-WebSocket-Version", "13")
        .body(Empty::<Bytes>::new())
        .expect("a request");
    let (ws, response) = handshake::client(&TokioExecutor::new(), request, socket).await?;
    let agreed = if response.headers().contains_key("sec-websocket-extensions") { "unasked" } else { "-" };
    Ok((ws, agreed.to_owned()))
}

/// One connection: a task reads, commands write.
struct Connection {
    writer: Arc<Mutex<Writer>>,
}

impl Connection {
    fn new(mut ws: WebSocket<Socket>, agreed: &str) -> Self {
        // It refuses what is as long as the limit.
        ws.set_max_message_size(LARGEST_MESSAGE + 1);
        let (reader, writer) = ws.split(tokio::io::split);
        let writer = Arc::new(Mutex::new(Some(writer)));
        say("open", &[agreed]);
        tokio::spawn(read(FragmentCollectorRead::new(reader), writer.clone()));
        Self { writer }
    }

    async fn obey(&self, command: Command) -> Result<(), WebSocketError> {
        let payload = |bytes: Vec<u8>| Payload::Owned(bytes);
        let of = |kind| if kind == Kind::Text { OpCode::Text } else { OpCode::Binary };
        let frame = match command {
            Command::Send(kind, bytes) => Frame::new(true, of(kind), None, payload(bytes)),
            Command::Begin(kind, first) => Frame::new(false, of(kind), None, payload(first)),
            Command::More(next) => Frame::new(false, OpCode::Continuation, None, payload(next)),
            Command::End(last) => Frame::new(true, OpCode::Continuation, None, payload(last)),
            Command::Ping(bytes) => Frame::new(true, OpCode::Ping, None, payload(bytes)),
            Command::Pong(bytes) => Frame::pong(payload(bytes)),
            Command::Close(None) => Frame::close_raw(payload(Vec::new())),
            Command::Close(Some((code, reason))) => Frame::close(code, reason.as_bytes()),
            Command::BadText(bytes) => Frame::text(payload(bytes)),
            Command::Plain(..) | Command::Connect(_) => {
                say("cannot", &["it has no compression"]);
                return Ok(());
            }
        };
        let mut writer = self.writer.lock().await;
        let writer = writer.as_mut().ok_or(WebSocketError::ConnectionClosed)?;
        writer.write_frame(frame).await?;
        writer.flush().await
    }
}

async fn read(mut reader: FragmentCollectorRead<tokio::io::ReadHalf<Socket>>, writer: Arc<Mutex<Writer>>) {
    let mut send = |frame: Frame<'static>| {
        let writer = writer.clone();
        async move {
            let mut writer = writer.lock().await;
            // What it owes to a peer that it has closed to is owed no more, say its docs.
            let Some(writer) = writer.as_mut().filter(|writer| !writer.is_closed()) else { return Ok(()) };
            writer.write_frame(frame).await?;
            writer.flush().await
        }
    };
    loop {
        match reader.read_frame::<_, WebSocketError>(&mut send).await {
            Ok(frame) => match frame.opcode {
                OpCode::Text => say_message(Kind::Text, &frame.payload),
                OpCode::Binary => say_message(Kind::Binary, &frame.payload),
                OpCode::Ping => say("ping", &[&hex(&frame.payload)]),
                OpCode::Pong => say("pong", &[&hex(&frame.payload)]),
                OpCode::Close => {
                    match frame.payload.split_first_chunk() {
                        Some((&code, reason)) => say_closed(u16::from_be_bytes(code), reason),
                        None => say_closed(1005, b""),
                    }
                    break;
                }
                OpCode::Continuation => {}
            },
            Err(error) => {
                say("failed", &[&error.to_string()]);
                say_closed(1006, b"");
                break;
            }
        }
    }
    *writer.lock().await = None;
}
