//! tungstenite, over blocking sockets.

use crate::LARGEST_MESSAGE;
use crate::wire::{Command, Kind, Outcome, Role, commands, say, say_closed, say_message};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::protocol::{WebSocket, WebSocketConfig};
use tungstenite::{Error, Message, Utf8Bytes, accept_with_config, client::client_with_config};

/// How soon a command is noticed while the socket is silent.
const TICK: Duration = Duration::from_millis(2);

pub fn run(role: Role) -> Outcome {
    let commands = commands();
    let config =
        WebSocketConfig::default().max_message_size(Some(LARGEST_MESSAGE)).max_frame_size(Some(LARGEST_MESSAGE));
    match role {
        Role::Server => {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            listener.set_nonblocking(true)?;
            say("listening", &[&listener.local_addr()?.port().to_string()]);
            loop {
                match listener.accept() {
                    Ok((socket, _)) => {
                        socket.set_nonblocking(false)?;
                        match accept_with_config(socket, Some(config)) {
                            Ok(mut ws) => {
                                say("open", &["-"]);
                                if let Over::Input = serve(&mut ws, &commands)? {
                                    return Ok(());
                                }
                            }
                            Err(error) => say("failed", &[&error.to_string()]),
                        }
                    }
                    Err(e) if e.kind() == ErrorKind::WouldBlock => match commands.try_recv() {
                        Err(TryRecvError::Disconnected) => return Ok(()),
                        Err(TryRecvError::Empty) => std::thread::sleep(TICK),
                        Ok(_) => say("failed", &["no connection"]),
                    },
                    Err(e) => return Err(e.into()),
                }
            }
        }
        Role::Client => {
            say("ready", &[]);
            while let Ok(command) = commands.recv() {
                let Command::Connect(port) = command else {
                    say("failed", &["no connection"]);
                    continue;
                };
                let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
                match client_with_config(format!("ws://127.0.0.1:{port}/"), socket, Some(config)) {
                    Ok((mut ws, response)) => {
                        let extensions = response.headers().get("sec-websocket-extensions");
                        say("open", &[extensions.map_or("-", |_| "unasked")]);
                        if let Over::Input = serve(&mut ws, &commands)? {
                            return Ok(());
                        }
                    }
                    Err(error) => say("failed", &[&error.to_string()]),
                }
            }
            Ok(())
        }
    }
}

/// What ended.
enum Over {
    Connection,
    Input,
}

fn serve(ws: &mut WebSocket<TcpStream>, commands: &Receiver<Command>) -> Result<Over, Box<dyn std::error::Error>> {
    ws.get_ref().set_nodelay(true)?;
    ws.get_ref().set_read_timeout(Some(TICK))?;
    let mut closed = false;
    loop {
        loop {
            // Behind the end the next command is for the next connection.
            let command = if closed { Err(TryRecvError::Empty) } else { commands.try_recv() };
            match command {
                Ok(command) => match obey(ws, command) {
                    Ok(()) => {}
                    Err(error) => say("failed", &[&error.to_string()]),
                },
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(Over::Input),
            }
        }
        match ws.read() {
            Ok(Message::Text(text)) => say_message(Kind::Text, text.as_bytes()),
            Ok(Message::Binary(bytes)) => say_message(Kind::Binary, &bytes),
            Ok(Message::Ping(payload)) => say("ping", &[&crate::wire::hex(&payload)]),
            Ok(Message::Pong(payload)) => say("pong", &[&crate::wire::hex(&payload)]),
            Ok(Message::Close(frame)) => {
                closed = true;
                match frame {
                    Some(frame) => say_closed(frame.code.into(), frame.reason.as_bytes()),
                    None => say_closed(1005, b""),
                }
            }
            Ok(Message::Frame(_)) => {}
            Err(Error::Io(e)) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            // Both sides have closed, however the socket ended.
            Err(_) if closed => return Ok(Over::Connection),
            Err(error) => {
                say("failed", &[&error.to_string()]);
                say_closed(1006, b"");
                return Ok(Over::Connection);
            }
        }
    }
}

fn obey(ws: &mut WebSocket<TcpStream>, command: Command) -> Result<(), Error> {
    let frame = |payload: Vec<u8>, data, last| Message::Frame(Frame::message(payload, OpCode::Data(data), last));
    let of = |kind| if kind == Kind::Text { Data::Text } else { Data::Binary };
    match command {
        Command::Send(Kind::Text, bytes) => ws.send(Message::Text(Utf8Bytes::try_from(bytes)?)),
        Command::Send(Kind::Binary, bytes) => ws.send(Message::Binary(bytes.into())),
        Command::Begin(kind, first) => ws.send(frame(first, of(kind), false)),
        Command::More(next) => ws.send(frame(next, Data::Continue, false)),
        Command::End(last) => ws.send(frame(last, Data::Continue, true)),
        Command::Ping(payload) => ws.send(Message::Ping(payload.into())),
        Command::Pong(payload) => ws.send(Message::Pong(payload.into())),
        Command::Close(None) => ws.close(None),
        Command::Close(Some((code, reason))) => {
            ws.close(Some(CloseFrame { code: CloseCode::from(code), reason: reason.into() }))
        }
        Command::BadText(bytes) => ws.send(frame(bytes, Data::Text, true)),
        Command::Plain(..) | Command::Connect(_) => {
            say("cannot", &["it has no compression"]);
            Ok(())
        }
    }
}
