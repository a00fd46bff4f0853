//! tautline's own puppet: the loop of `net`, as a server and as a client.

use crate::LARGEST_MESSAGE;
use crate::wire::{Command, Kind, Outcome, Role, for_each_command, hex, say, say_closed, say_message};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use tautline::http::RequestHead;
use tautline::http::origin::OriginPolicy;
use tautline::http::url::Url;
use tautline::net::{
    Accept, Config, Connect, Context, Control, Ended, Handler, ListenAddress, ListenConfig, Message, PeerId, Server,
};
use tautline::ws::{self, CloseCode, DeflateConfig, HandshakeConfig, Takeover, apply_mask};

pub fn run(role: Role, deflate: &str) -> Outcome {
    let mut config = Config::default();
    config.upgrade.origins = OriginPolicy::Any;
    config.ws.limits.message = LARGEST_MESSAGE as u64;
    config.ws.limits.frame = LARGEST_MESSAGE as u64;
    // Room for messages that are too big for the other side.
    config.queue.limit = 4 * LARGEST_MESSAGE;
    // A ping of its own would come between the answers.
    config.ws.heartbeat = None;
    config.ws.deflate = compression(deflate)?;
    let handshake = HandshakeConfig { deflate: config.ws.deflate, ..HandshakeConfig::default() };
    let handshake = Arc::new(handshake.check()?);
    let listen = ListenConfig::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let server = Server::start(&config, &[listen], Some(NonZeroUsize::MIN), |_| Puppet::default())?;
    match role {
        Role::Server => say("listening", &[&port(&server.addresses()[0])]),
        Role::Client => say("ready", &[]),
    }
    let handle = server.handle();
    for_each_command(|command| {
        let handshake = handshake.clone();
        handle.call(0, move |puppet, control| puppet.obey(command, control, handshake)).is_ok()
    });
    handle.stop();
    server.join();
    Ok(())
}

/// What the names of compression mean. But for `default` all messages are compressed, so that each case has something to show.
fn compression(name: &str) -> Result<Option<DeflateConfig>, Box<dyn std::error::Error>> {
    let all = |takeover, window| DeflateConfig {
        threshold: 0,
        server_takeover: takeover,
        client_takeover: takeover,
        server_window: window,
        client_window: window,
        ..DeflateConfig::DEFAULT
    };
    Ok(match name {
        "off" => None,
        "default" => Some(DeflateConfig::DEFAULT),
        "takeover" => Some(all(Takeover::Kept, 15)),
        "no-takeover" => Some(all(Takeover::None, 15)),
        _ => {
            let bits = name.strip_prefix("bits-").ok_or("no such compression")?.parse()?;
            Some(all(Takeover::Kept, bits))
        }
    })
}

#[derive(Default)]
struct Puppet {
    /// The connection that commands are for: the newest.
    current: Option<PeerId>,
}

impl Handler for Puppet {
    type State = Side;

    fn request(&mut self, head: &RequestHead<'_>, cx: &mut Context<'_, Side>) {
        *cx.state() = Side::Server;
        if let Err(error) = cx.accept(head, &Accept::default()) {
            say("failed", &[&error.to_string()]);
        }
    }

    fn opened(&mut self, cx: &mut Context<'_, Side>) {
        self.current = Some(cx.id());
        say("open", &[&agreed(cx)]);
    }

    fn message(&mut self, message: Message<'_>, _: &mut Context<'_, Side>) {
        match message {
            Message::Text(text) => say_message(Kind::Text, text.as_bytes()),
            Message::Binary(bytes) => say_message(Kind::Binary, bytes),
        }
    }

    fn frame(&mut self, event: &ws::Event<'_>, _: &mut Context<'_, Side>) {
        match event {
            ws::Event::Ping(payload) => say("ping", &[&hex(payload)]),
            ws::Event::Pong { payload, .. } => say("pong", &[&hex(payload)]),
            _ => {}
        }
    }

    fn closed(&mut self, ended: &Ended<'_>, cx: &mut Context<'_, Side>) {
        if self.current == Some(cx.id()) {
            self.current = None;
        }
        match ended {
            Ended::WebSocket(closed) => {
                if let ws::Ending::Failed(error) = closed.ending {
                    say("failed", &[error.as_str()]);
                }
                say_closed(closed.code, closed.reason.as_bytes());
            }
            Ended::Connect(error) => say("failed", &[&error.to_string()]),
            _ => {}
        }
    }
}

/// Which side of the connection this is.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Side {
    Server,
    #[default]
    Client,
}

impl Puppet {
    fn obey(&mut self, command: Command, control: &mut Control<'_, Self>, handshake: Arc<HandshakeConfig>) {
        if let Command::Connect(port) = command {
            let url = Url::parse(&format!("ws://127.0.0.1:{port}/")).expect("a URL");
            let connect = Connect { url, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), source: None };
            if let Err(error) = control.connect(&connect, handshake, None, Side::Client) {
                say("failed", &[&error.to_string()]);
            }
            return;
        }
        let done = self.current.and_then(|current| control.with_peer(current, |cx| obey(command, cx)));
        match done {
            Some(Ok(())) => {}
            Some(Err(error)) => say("failed", &[&error]),
            None => say("failed", &["no connection"]),
        }
    }
}

fn obey(command: Command, cx: &mut Context<'_, Side>) -> Result<(), String> {
    let (side, now) = (*cx.state(), cx.now());
    if let Command::Send(kind, payload) = &command {
        let sent = match kind {
            Kind::Text => cx.send(Message::Text(text(payload)?)),
            Kind::Binary => cx.send(Message::Binary(payload)),
        };
        return sent.map_err(|error| error.to_string());
    }
    if let Command::Plain(kind, payload) = &command {
        let sent = match kind {
            Kind::Text => cx.send_uncompressed(Message::Text(text(payload)?)),
            Kind::Binary => cx.send_uncompressed(Message::Binary(payload)),
        };
        return sent.map_err(|error| error.to_string());
    }
    let (connection, out) = cx.websocket().ok_or("no WebSocket")?;
    let done = match command {
        Command::Begin(Kind::Text, first) => connection.begin(ws::Kind::Text, &first, out),
        Command::Begin(Kind::Binary, first) => connection.begin(ws::Kind::Binary, &first, out),
        Command::More(next) => connection.append(&next, out),
        Command::End(last) => connection.finish(&last, out),
        Command::Ping(payload) => connection.ping(&payload, out),
        Command::Pong(payload) => connection.pong(&payload, out),
        Command::Close(None) => connection.close(None, "", now, out),
        Command::Close(Some((code, reason))) => {
            let code = CloseCode::new(code).ok_or("no code that may be sent")?;
            connection.close(Some(code), &reason, now, out)
        }
        // What no call of the library's sends: the frame is made by hand.
        Command::BadText(bytes) => return out.push(&text_frame(side, &bytes)).map_err(|full| full.to_string()),
        Command::Plain(..) | Command::Send(..) | Command::Connect(_) => return Err("not understood".into()),
    };
    done.map_err(|error| error.to_string())
}

/// A whole text frame of these bytes, at most 125, whatever they are.
fn text_frame(side: Side, bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81, bytes.len() as u8];
    if side == Side::Client {
        let key = [1, 2, 3, 4];
        frame[1] |= 0x80;
        frame.extend_from_slice(&key);
        let at = frame.len();
        frame.extend_from_slice(bytes);
        apply_mask(&mut frame[at..], key, 0);
    } else {
        frame.extend_from_slice(bytes);
    }
    frame
}

/// What was agreed on compression.
fn agreed(cx: &mut Context<'_, Side>) -> String {
    let Some(deflate) = cx.websocket().and_then(|(connection, _)| connection.deflate().copied()) else {
        return "-".into();
    };
    let mut agreed = Vec::new();
    for (takeover, side) in [(deflate.server_takeover(), "server"), (deflate.client_takeover(), "client")] {
        if takeover == Takeover::None {
            agreed.push(format!("{side}_no_context_takeover"));
        }
    }
    for (window, side) in [(deflate.server_window(), "server"), (deflate.client_window(), "client")] {
        agreed.push(format!("{side}_max_window_bits={window}"));
    }
    agreed.join(";")
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|error| error.to_string())
}

pub fn port(address: &ListenAddress) -> String {
    match address {
        ListenAddress::Tcp(address) => address.port().to_string(),
        other => format!("{other:?}"),
    }
}
