//! The handler: which request goes where, and what each connection is.

use super::chat::{self, Member};
use super::gate::{Asking, Gate, Refusal};
use super::metrics;
use super::options::Options;
use super::pages::{PAGES, POLICY, Page};
use super::rooms::Rooms;
use super::stats::{self, Meter};
use super::tokens::{self, Prompt, Stream};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tautline::http::cors::CorsHeaders;
use tautline::http::origin::OriginPolicy;
use tautline::http::upgrade::{Upgrade, UpgradeConfig};
use tautline::http::{RequestHead, Response, ResponseError};
use tautline::net::{
    Accept, Context, Control, Ended, Endpoint, Handle, Handler, Message, PROTOCOL, UpgradeError, Upgraded,
};
use tautline::ws;

/// What all workers share.
pub(crate) struct Shared {
    pub(crate) gate: Arc<Gate>,
    pub(crate) rooms: Rooms,
    /// Subscribers that want the figures of [`stats`], as each worker last counted its own: without any nobody measures.
    pub(crate) watchers: AtomicU64,
    /// Chat messages are short, whatever `/echo` takes.
    chat: Arc<ws::Config>,
}

impl Shared {
    pub(crate) fn new(options: &Options, gate: Arc<Gate>) -> Self {
        let mut chat = options.config.ws;
        chat.limits.message = chat.limits.message.min(chat::MAX_MESSAGE);
        chat.limits.frame = chat.limits.frame.min(chat::MAX_MESSAGE);
        Self { gate, rooms: Rooms::default(), watchers: AtomicU64::new(0), chat: Arc::new(chat) }
    }
}

/// The application, one for each worker.
pub(crate) struct Site {
    pub(crate) shared: Arc<Shared>,
    /// For `/metrics`; there once the worker has started.
    handle: Option<Handle<Self>>,
    meter: Meter,
}

/// What a connection is to the application. `None` is a request that is answered at once, a subscriber of the hub's, or an echo.
///
/// Most connections are idle most of the time, so what one keeps is a pointer: the 8 bytes that the loop's own figure has room for.
pub(crate) type State = Option<Box<Role>>;
const _: () = assert!(size_of::<State>() == 8);

pub(crate) enum Role {
    /// A prompt whose body is on its way.
    Prompt(Prompt),
    Tokens(Stream),
    Chat(Member),
}

pub(crate) type Cx<'a> = Context<'a, State>;

/// Header lines, name and value.
pub(crate) type Lines<'a> = &'a [(&'a str, &'a str)];

/// The path's answer was written, or could not be: then the loop answers 500.
type Answered = Result<(), ResponseError>;

impl Site {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, handle: None, meter: Meter::default() }
    }

    fn route(&self, head: &RequestHead<'_>, cx: &mut Cx<'_>) -> Answered {
        let (method, path) = (head.method(), head.path());
        let preflight = method == "OPTIONS" && head.headers().get("access-control-request-method").is_some();
        let asking = if preflight { Asking::Permission } else { Asking::Something };
        let cors = match self.shared.gate.admit(head, asking) {
            Ok(cors) => cors,
            Err(refusal) => return refuse(cx, &[], refusal),
        };
        let lines = cors.as_slice();
        let page = PAGES.iter().find(|page| page.path == path);
        let allowed = match path {
            "/ws" | "/echo" => "GET, OPTIONS",
            "/publish" | "/send" | "/ack" | "/tokens" => "POST, OPTIONS",
            "/events" | "/poll" | "/metrics" | "/healthz" | "*" => "GET, HEAD, OPTIONS",
            _ if page.is_some() => "GET, HEAD, OPTIONS",
            _ => return answer(cx, lines, 404, &[], "There is nothing here. The page is at /.\n"),
        };
        if !allowed.split(", ").any(|allowed| allowed == method) {
            return answer(cx, lines, 405, &[("Allow", allowed)], "This method is not for this path.\n");
        }
        if matches!(path, "/publish" | "/tokens") && method == "POST" {
            // Before the body: what is refused is not read.
            if let Err(refusal) = self.shared.gate.check_token(head) {
                return refuse(cx, lines, refusal);
            }
        }
        match path {
            _ if method == "OPTIONS" => cx.respond(&Response::new(204).base(lines).headers(&[("Allow", allowed)]), &[]),
            "/ws" if !offers(head, PROTOCOL) => self.accept_chat(head, cx),
            "/echo" => accept_echo(head, cx),
            "/tokens" => tokens::announce(head, &cors, cx),
            "/metrics" => self.show_metrics(&cors, cx),
            "/healthz" => answer(cx, lines, 200, &[], "ok\n"),
            _ => match (Endpoint::of(path), page) {
                (Some(endpoint), _) => cx.hub(head, endpoint, &[lines, &[EMBEDDING]].concat()),
                (_, Some(page)) => show(cx, lines, page),
                _ => answer(cx, lines, 404, &[], "There is nothing here.\n"),
            },
        }
    }

    fn accept_chat(&self, head: &RequestHead<'_>, cx: &mut Cx<'_>) -> Answered {
        let how = Accept { config: Some(self.shared.chat.clone()), ..Accept::default() };
        if accept(head, cx, &how)? == Some(Upgraded::Yes) {
            *cx.state() = Some(Box::new(Role::Chat(Member::new(&self.shared.rooms))));
        }
        Ok(())
    }

    fn show_metrics(&self, cors: &CorsHeaders<'_>, cx: &mut Cx<'_>) -> Answered {
        let Some(handle) = &self.handle else { return answer(cx, cors.as_slice(), 503, &[], "Not yet.\n") };
        let text = metrics::write(&handle.totals(), &handle.hub(), self.shared.rooms.count());
        answer(cx, cors.as_slice(), 200, &[("Content-Type", metrics::KIND)], &text)
    }
}

impl Handler for Site {
    type State = State;

    fn started(&mut self, control: &mut Control<'_, Self>) {
        self.handle = Some(control.handle());
        control.set_alarm(stats::INTERVAL);
    }

    fn alarm(&mut self, control: &mut Control<'_, Self>) {
        self.meter.tick(&self.shared, control);
        control.set_alarm(stats::INTERVAL);
    }

    fn request(&mut self, head: &RequestHead<'_>, cx: &mut Cx<'_>) {
        // Of an earlier request on this connection.
        *cx.state() = None;
        // What could not be answered here is answered with 500 by the loop.
        let _ = self.route(head, cx);
    }

    fn body(&mut self, body: &[u8], cx: &mut Cx<'_>) {
        if let Some(Role::Prompt(prompt)) = cx.state().take().map(|role| *role) {
            let _ = prompt.begin(body, cx);
        }
    }

    fn opened(&mut self, cx: &mut Cx<'_>) {
        if let Some(Role::Chat(member)) = cx.state().as_deref() {
            let welcome = member.welcome();
            chat::send(cx, &welcome);
        }
    }

    fn message(&mut self, message: Message<'_>, cx: &mut Cx<'_>) {
        let Some(mut role) = cx.state().take() else {
            // An echo. Its queue has room: reading pauses before that fills.
            if cx.send(message).is_err() {
                cx.close(ws::CloseCode::TRY_AGAIN, "no room for the echo");
            }
            return;
        };
        if let Role::Chat(member) = &mut *role {
            member.receive(&self.shared.rooms, message, cx);
        }
        *cx.state() = Some(role);
    }

    fn timer(&mut self, cx: &mut Cx<'_>) {
        let Some(mut role) = cx.state().take() else { return };
        if let Role::Tokens(stream) = &mut *role {
            stream.go_on(cx);
        }
        *cx.state() = Some(role);
    }

    fn closed(&mut self, _: &Ended<'_>, cx: &mut Cx<'_>) {
        if let Some(Role::Chat(member)) = cx.state().take().map(|role| *role) {
            member.leave_all(&self.shared.rooms, cx);
        }
    }
}

/// Headers of every answer: what it says is what it is, and no page of another origin may embed it.
const COMMON: [(&str, &str); 3] = [("Cache-Control", "no-cache"), ("X-Content-Type-Options", "nosniff"), EMBEDDING];

/// Of the hub's answers, too: they have the other two where they need them.
const EMBEDDING: (&str, &str) = ("Cross-Origin-Resource-Policy", "same-origin");

/// Answers the request with text, or with what `Content-Type` among `headers` says that it is.
pub(crate) fn answer(cx: &mut Cx<'_>, cors: Lines<'_>, status: u16, headers: Lines<'_>, body: &str) -> Answered {
    let mut all = [cors, &COMMON, headers].concat();
    if !headers.iter().any(|(name, _)| *name == "Content-Type") {
        all.push(("Content-Type", "text/plain; charset=utf-8"));
    }
    cx.respond(&Response::new(status).headers(&all), body.as_bytes())
}

fn refuse(cx: &mut Cx<'_>, cors: Lines<'_>, refusal: Refusal) -> Answered {
    let headers: Lines<'_> = match refusal {
        Refusal::Token => &[("WWW-Authenticate", "Bearer realm=\"tautline\"")],
        // Another origin may be let in.
        Refusal::Origin => &[("Vary", "Origin")],
        Refusal::Host => &[],
    };
    answer(cx, cors, refusal.status(), headers, refusal.text())
}

fn show(cx: &mut Cx<'_>, cors: Lines<'_>, page: &Page) -> Answered {
    let headers =
        [("Content-Type", page.kind), ("Content-Security-Policy", POLICY), ("Referrer-Policy", "no-referrer")];
    answer(cx, cors, 200, &headers, page.body)
}

/// Whether a WebSocket's client offers a subprotocol.
fn offers(head: &RequestHead<'_>, protocol: &str) -> bool {
    Upgrade::check_head(&any_origin(), head).is_ok_and(|upgrade| upgrade.protocols().any(|offered| offered == protocol))
}

/// For requests of which the gate has seen the origin.
fn any_origin() -> UpgradeConfig {
    UpgradeConfig { origins: OriginPolicy::Any, ..UpgradeConfig::default() }
}

/// Accepts an echo: it speaks whatever the client would like best. A request that is no handshake is answered as everywhere.
fn accept_echo(head: &RequestHead<'_>, cx: &mut Cx<'_>) -> Answered {
    let offered = Upgrade::check_head(&any_origin(), head).ok().and_then(|upgrade| upgrade.protocols().next());
    accept(head, cx, &Accept { protocols: offered.as_slice(), ..Accept::default() }).map(drop)
}

/// Accepts a WebSocket, or answers why not.
fn accept(head: &RequestHead<'_>, cx: &mut Cx<'_>, how: &Accept<'_>) -> Result<Option<Upgraded>, ResponseError> {
    match cx.accept(head, how) {
        Ok(upgraded) => Ok(Some(upgraded)),
        Err(UpgradeError::Response(error)) => Err(error),
        // Only a mistake in this program.
        Err(_) => Ok(None),
    }
}
