//! A connection's end at the hub: the crate's own machines for HTTP, WebSocket and event streams, and a small glue between them and the desk
//! that follows `src/net/hub/`.

use super::hub::{Command as Want, PeerId, Shared};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use tautline::http::origin::OriginPolicy;
use tautline::http::server::{Event as HttpEvent, Server, ServerConfig};
use tautline::http::upgrade::{Answer as UpgradeAnswer, Upgrade, UpgradeConfig};
use tautline::http::{RequestHead, Response};
use tautline::hub::{
    Attach, Attachment, Command, Commands, Cursor, Cursors, DEFAULT_TOPIC, Delivery, Desk, Entry, First, Identity,
    Item, Kept, Most, Offer, Owner, Publication, Publish, Pulled, Resume, SessionError, SessionId, SessionToken,
    SlowReader, Subscribed, To, notice,
};
use tautline::poll::{self, Form};
use tautline::sse::{self, ServerStream, ServerStreamConfig};
use tautline::ws::{self, CloseCode, Connection};
use tautline::{Buffers, Input, Instant, Output};

pub(crate) struct Peer {
    pub(crate) wire: Wire,
    pub(crate) out: Output,
    pub(crate) state: State,
}

pub(crate) enum Wire {
    Http(Box<Http>),
    WebSocket(Box<Connection>),
    /// Blocks as they are, both ways: what the model client speaks.
    Blocks(String),
}

pub(crate) struct Http {
    pub(crate) server: Server,
    pub(crate) mode: Mode,
    body: Vec<u8>,
}

pub(crate) enum Mode {
    Plain,
    Body(Errand),
    Held,
    Stream(ServerStream),
}

/// What the body of a POST is for.
pub(crate) enum Errand {
    Publish {
        session: Option<SessionId>,
        topic: String,
        key: Option<String>,
        audience: To,
        keep: Kept,
        slot: Option<String>,
        event: String,
    },
    Send {
        session: Option<SessionId>,
    },
}

/// What a connection has besides its machine.
#[derive(Default, Debug)]
pub(crate) struct State {
    pub(crate) line: Option<HubLine>,
    /// To be closed once everything is written.
    pub(crate) over: bool,
    /// Since when nothing was taken, and until when that may be.
    stall: Option<Instant>,
    /// To pull when the queue is empty.
    pumps: bool,
    buffers: Buffers,
}

#[derive(Debug)]
pub(crate) enum HubLine {
    Subscriber(Subscriber),
    Poll(Poll),
}

#[derive(Debug)]
pub(crate) struct Subscriber {
    welcome: Option<bytes::Bytes>,
    told: Instant,
    due: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Poll {
    pub(crate) form: Form,
    pub(crate) until: Instant,
    pub(crate) session: Option<String>,
}

/// After so long without a byte taken a reader of a topic that closes counts as stuck.
const STALL: Duration = Duration::from_secs(20);
/// The most that a transport puts around a block.
const FRAME: usize = 32;

impl Wire {
    pub(crate) fn http(now: Instant) -> Self {
        let server = Server::new(Arc::new(ServerConfig::default()), now);
        Self::Http(Box::new(Http { server, mode: Mode::Plain, body: Vec::new() }))
    }
}

impl Peer {
    pub(crate) fn new(wire: Wire, queue: usize, _now: Instant) -> Self {
        Self { wire, out: Output::with_limit(queue), state: State::default() }
    }

    pub(crate) fn poll_timeout(&self, heartbeat: Duration) -> Option<Instant> {
        let wire = match &self.wire {
            Wire::Http(http) => match &http.mode {
                Mode::Stream(stream) => earlier(http.server.poll_timeout(), Some(stream.poll_timeout())),
                _ => http.server.poll_timeout(),
            },
            Wire::WebSocket(ws) => ws.poll_timeout(),
            Wire::Blocks(_) => match &self.state.line {
                Some(HubLine::Subscriber(subscriber)) => Some(subscriber.told + heartbeat),
                _ => None,
            },
        };
        let line = match &self.state.line {
            Some(HubLine::Subscriber(subscriber)) => subscriber.due,
            Some(HubLine::Poll(poll)) => Some(poll.until),
            None => None,
        };
        earlier(earlier(wire, line), self.state.stall)
    }

    /// Whether it is read: not while its own queue is long.
    pub(crate) fn reads(&self, queue: usize) -> bool {
        match &self.wire {
            Wire::Http(http) if !matches!(http.mode, Mode::Stream(_)) => self.out.is_empty(),
            _ => self.out.len() <= queue / 4,
        }
    }
}

pub(crate) fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    [a, b].into_iter().flatten().min()
}

/// A connection with all that it may touch.
pub(crate) struct Cx<'a> {
    pub(crate) shared: &'a mut Shared,
    pub(crate) desk: &'a mut Desk<Arc<Publication>>,
    pub(crate) id: PeerId,
    pub(crate) wire: &'a mut Wire,
    pub(crate) out: &'a mut Output,
    pub(crate) state: &'a mut State,
    pub(crate) now: Instant,
}

/// Why not.
struct Refused(u16, String);

impl Cx<'_> {
    /// Takes what was read.
    pub(crate) fn receive(&mut self, bytes: &mut [u8]) {
        let mut buffers = std::mem::take(&mut self.state.buffers);
        let mut input = Input::with_buffers(bytes, &mut buffers);
        self.feed(&mut input);
        drop(input);
        self.state.buffers = buffers;
    }

    pub(crate) fn handle_eof(&mut self) {
        match self.wire {
            Wire::Http(http) => http.server.handle_eof(self.now),
            Wire::WebSocket(ws) => ws.handle_eof(self.now),
            Wire::Blocks(_) => self.end(),
        }
        self.receive(&mut []);
    }

    fn feed(&mut self, input: &mut Input<'_>) {
        let now = self.now;
        loop {
            match self.wire {
                Wire::Http(http) => match http.server.next_event(input, self.out, now) {
                    Ok(Some(HttpEvent::Request(head))) => {
                        http.mode = Mode::Plain;
                        http.body.clear();
                        // Whoever asked before on this connection may have been another.
                        self.leave();
                        if self.request(&head) == Became::WebSocket {
                            let seed = self.shared.rng.seed16();
                            let mut config = ws::Config::DEFAULT;
                            if let Some(heartbeat) = &mut config.heartbeat {
                                heartbeat.interval = self.shared.heartbeat;
                            }
                            let config = Arc::new(config.check().expect("valid"));
                            *self.wire = Wire::WebSocket(Box::new(Connection::server(config, seed, now)));
                            self.opened();
                        }
                    }
                    Ok(Some(HttpEvent::Body(data))) => http.body.extend_from_slice(data),
                    Ok(Some(HttpEvent::BodyEnd)) => self.body(),
                    Ok(Some(HttpEvent::Closed(_))) => return self.end(),
                    Ok(None) => return,
                    Err(_) => {}
                },
                Wire::WebSocket(ws) => match ws.next_event(input, self.out, now) {
                    Ok(Some(ws::Event::Text(text))) => self.commands(text),
                    Ok(Some(ws::Event::Closed(_))) => return self.end(),
                    Ok(Some(_)) => {}
                    Ok(None) => return,
                    Err(_) => {}
                },
                Wire::Blocks(received) => {
                    received.push_str(std::str::from_utf8(input.rest()).expect("the model speaks ASCII"));
                    input.skip_all();
                    let Some(end) = received.rfind("\n\n") else { return };
                    let rest = received.split_off(end + 2);
                    let blocks = std::mem::replace(received, rest);
                    self.commands(&blocks);
                    return;
                }
            }
        }
    }

    /// Nothing comes any more.
    fn end(&mut self) {
        self.leave();
        self.state.over = true;
    }

    /// It has nothing to do with the hub any more.
    pub(crate) fn leave(&mut self) {
        if let Some((session, _)) = self.desk.member(self.id.index) {
            if let Some(position) = self.desk.acknowledged(self.id.index) {
                let _ = self.shared.acknowledging.unpark(session, &self.id);
                self.shared.acknowledged.note(session, position, self.now);
            }
            let _ = self.shared.parked.unpark(session, &self.id);
        }
        self.desk.detach(self.id.index);
        self.state.line = None;
        self.state.pumps = false;
    }

    /// The connection is closed by this side.
    fn give_up(&mut self) {
        self.state.stall = None;
        match self.wire {
            Wire::Http(http) => http.server.abort(),
            Wire::WebSocket(ws) => _ = ws.close(Some(CloseCode::TRY_AGAIN), "too slow", self.now, self.out),
            Wire::Blocks(_) => {
                self.out.clear();
                self.end();
                return;
            }
        }
        // That it is over comes as an event.
        self.receive(&mut []);
    }

    pub(crate) fn handle_timeout(&mut self) {
        let now = self.now;
        match &mut self.state.line {
            Some(HubLine::Poll(poll)) if poll.until <= now => self.release(),
            Some(HubLine::Subscriber(subscriber)) if subscriber.due.is_some_and(|due| due <= now) => {
                if self.desk.handle_timeout(self.id.index, now) {
                    self.pump();
                }
                self.note();
            }
            _ => {}
        }
        if self.state.stall.is_some_and(|due| due <= now) {
            self.give_up();
        }
        let heartbeat = self.shared.heartbeat;
        match self.wire {
            Wire::WebSocket(ws) => {
                let before = self.out.len();
                ws.handle_timeout(now, self.out);
                if self.out.len() > before {
                    self.beat();
                }
            }
            Wire::Http(http) => {
                http.server.handle_timeout(now, self.out);
                if let Mode::Stream(stream) = &mut http.mode {
                    if stream.poll_timeout() <= now {
                        self.beat();
                    }
                    if let Wire::Http(http) = self.wire
                        && let Mode::Stream(stream) = &mut http.mode
                    {
                        stream.handle_timeout(&mut http.server, now, self.out);
                    }
                }
            }
            Wire::Blocks(_) => {
                if let Some(HubLine::Subscriber(subscriber)) = &mut self.state.line
                    && subscriber.told + heartbeat <= now
                {
                    subscriber.told = now;
                    self.beat();
                }
            }
        }
        self.receive(&mut []);
    }

    /// Some of what was to be sent has left.
    pub(crate) fn wrote(&mut self) {
        if self.out.is_empty() {
            self.state.stall = None;
            if std::mem::take(&mut self.state.pumps) {
                self.pump();
            }
        } else if let Some(stall) = &mut self.state.stall {
            *stall = self.now + STALL;
        }
    }

    // Requests.

    fn request(&mut self, head: &RequestHead<'_>) -> Became {
        let outcome = match head.path() {
            "/hub/ws" | "/hub/events" | "/hub/poll" => self.attach(head),
            _ => self.post(head),
        };
        match outcome {
            Ok(became) => became,
            Err(refused) => {
                self.refuse(&refused);
                Became::Answered
            }
        }
    }

    fn refuse(&mut self, refused: &Refused) {
        let Wire::Http(http) = self.wire else { return };
        let after = [("Retry-After", "1")];
        let headers = if refused.0 == 503 { &after[..] } else { &[] };
        http.server
            .respond(&Response::new(refused.0).headers(headers), refused.1.as_bytes(), self.out)
            .expect("an answer is owed, and fits");
    }

    fn session(&mut self, token: Option<&str>) -> Result<(SessionId, SessionToken, bool), Refused> {
        if let Some(token) = token {
            match self.shared.sessions.check(token, None) {
                Ok(id) => return Ok((id, self.shared.sessions.mint(id.0, None), false)),
                Err(SessionError::OtherLog) => {}
                Err(error) => return Err(Refused(error.status(), error.to_string())),
            }
        }
        let random = u128::from(self.shared.rng.next()) << 64 | u128::from(self.shared.rng.next());
        Ok((SessionId(random), self.shared.sessions.mint(random, None), true))
    }

    fn attach(&mut self, head: &RequestHead<'_>) -> Result<Became, Refused> {
        let polls = head.path() == "/hub/poll";
        let cursors = if polls { Cursors::Strict } else { Cursors::Lenient };
        let asked = Attach::read(head, cursors, 128).map_err(|error| Refused(error.status(), error.to_string()))?;
        let poll = if polls {
            let request = poll::Request::read(head, &self.shared.config.poll);
            Some(request.map_err(|error| Refused(error.status(), error.to_string()))?)
        } else {
            None
        };
        let topics: Vec<_> = asked.topics.iter().map(|topic| (&*topic.name, topic.own)).collect();
        let (session, token, new) = self.session(asked.session.as_ref().map(|token| token.expose()))?;
        // A poll's cursor is its acknowledgement, now and for when the session comes back by another transport.
        let delivery = if polls { Delivery::Plain } else { asked.delivery };
        if polls
            && asked.delivery == Delivery::Acknowledged
            && let Resume::At(cursor) = asked.resume
            && cursor.log == Some(self.shared.log())
            && !topics.iter().any(|(_, own)| own.is_some())
        {
            self.shared.acknowledged.note(session, cursor.position, self.now);
        }
        self.admit(session, &topics, asked.resume, delivery)?;
        if let Some(request) = poll {
            let hold = !(request.timeout.is_zero() || asked.resume == Resume::Live);
            let until = self.now + request.timeout;
            self.begin_poll(Poll { form: request.form, until, session: new.then(|| token.as_str().into()) }, hold);
            return Ok(Became::Answered);
        }
        let Wire::Http(http) = self.wire else { return Ok(Became::Answered) };
        if head.path() == "/hub/ws" {
            let config = UpgradeConfig { origins: OriginPolicy::Any, ..UpgradeConfig::default() };
            let upgrade = match Upgrade::check_head(&config, head) {
                Ok(upgrade) => upgrade,
                Err(rejection) => {
                    http.server.reject_upgrade(rejection, &[], self.out).expect("an answer is owed");
                    self.leave();
                    return Ok(Became::Answered);
                }
            };
            let protocol = upgrade.choose_protocol(&["tautline"]);
            let accepted =
                upgrade.accept(UpgradeAnswer { protocol, headers: &[], extensions: None }).expect("it can be sent");
            http.server.accept_upgrade(&accepted, self.out).expect("it fits");
            self.welcome(&token);
            return Ok(Became::WebSocket);
        }
        let config = ServerStreamConfig { heartbeat: self.shared.heartbeat, ..ServerStreamConfig::default() };
        let random = self.shared.rng.next();
        match ServerStream::open(&config, &mut http.server, &[], random, self.out, self.now).expect("an answer is owed")
        {
            sse::Opened::Stream(stream) => http.mode = Mode::Stream(stream),
            _ => unreachable!("no HEAD was sent"),
        }
        self.welcome(&token);
        self.opened();
        Ok(Became::Answered)
    }

    /// The model client attaches: what it says comes without a request around it.
    pub(crate) fn attach_blocks(
        &mut self,
        token: Option<&str>,
        topics: &[(&str, Option<Resume>)],
        resume: Resume,
        delivery: Delivery,
    ) {
        let Ok((session, token, _)) = self.session(token) else { return self.end() };
        if self.admit(session, topics, resume, delivery).is_err() {
            return self.end();
        }
        self.welcome(&token);
        self.opened();
    }

    fn admit(
        &mut self,
        session: SessionId,
        topics: &[(&str, Option<Resume>)],
        resume: Resume,
        delivery: Delivery,
    ) -> Result<(), Refused> {
        let acknowledged = match delivery {
            Delivery::Acknowledged => self.shared.acknowledged.of(session),
            Delivery::Plain => None,
        };
        if delivery == Delivery::Acknowledged {
            let _ = self.shared.acknowledging.park(session, self.id);
        }
        let head = self.shared.head().position;
        let identity = Identity::default();
        let attachment = Attachment { session, identity, topics, resume, delivery, acknowledged, head };
        self.desk.attach(self.id.index, &attachment).map_err(|error| Refused(error.status(), error.to_string()))
    }

    fn welcome(&mut self, token: &SessionToken) {
        let welcome = Some(notice::session(token, self.shared.heartbeat));
        self.state.line = Some(HubLine::Subscriber(Subscriber { welcome, told: self.now, due: None }));
    }

    fn opened(&mut self) {
        if let Some(HubLine::Subscriber(subscriber)) = &mut self.state.line
            && let Some(welcome) = subscriber.welcome.take()
        {
            self.hand_block(&welcome);
        }
        self.pump();
    }

    fn post(&mut self, head: &RequestHead<'_>) -> Result<Became, Refused> {
        let asked = Attach::read(head, Cursors::Strict, 128).map_err(|e| Refused(e.status(), e.to_string()))?;
        let session = match &asked.session {
            None => None,
            Some(token) => match self.shared.sessions.check(token.expose(), None) {
                Ok(session) => Some(session),
                Err(SessionError::OtherLog) => None,
                Err(error) => return Err(Refused(error.status(), error.to_string())),
            },
        };
        let errand = match head.path() {
            "/hub/ack" => {
                let (Some(session), Resume::At(cursor)) = (session, asked.resume) else {
                    return Err(Refused(400, "a session and a cursor are needed".into()));
                };
                self.acknowledge_beside(session, cursor);
                let Wire::Http(http) = self.wire else { return Ok(Became::Answered) };
                http.server.respond(&Response::new(204), &[], self.out).expect("it fits");
                return Ok(Became::Answered);
            }
            "/hub/publish" => {
                let topic = asked.topics.first().map_or(DEFAULT_TOPIC.into(), |topic| topic.name.to_string());
                let (mut key, mut slot, mut event) = (None, None, String::new());
                let (mut audience, mut keep) = (To::All, Kept::Retained);
                for pair in head.query() {
                    let (name, value) = pair.expect("well-formed");
                    match (&*name, &*value) {
                        ("event", _) => event = value.into_owned(),
                        ("key", _) => key = Some(value.into_owned()),
                        ("slot", _) => slot = Some(value.into_owned()),
                        ("to", "others") => audience = To::Others,
                        ("keep", "no") => keep = Kept::Ephemeral,
                        _ => {}
                    }
                }
                Errand::Publish { session, topic, key, audience, keep, slot, event }
            }
            "/hub/send" => Errand::Send { session },
            other => panic!("no request of the protocol's: {other}"),
        };
        if let Wire::Http(http) = self.wire {
            http.mode = Mode::Body(errand);
        }
        Ok(Became::Answered)
    }

    fn body(&mut self) {
        let Wire::Http(http) = self.wire else { return };
        if !matches!(http.mode, Mode::Body(_)) {
            return;
        }
        let Mode::Body(errand) = std::mem::replace(&mut http.mode, Mode::Plain) else { return };
        let body = std::mem::take(&mut http.body);
        let text = std::str::from_utf8(&body).expect("clients send text");
        let answer = match errand {
            Errand::Publish { session, topic, key, audience, keep, slot, event } => {
                let publish = Publish {
                    topic: &topic,
                    event: &event,
                    data: Cow::Borrowed(text),
                    key: key.as_deref(),
                    audience,
                    keep,
                    slot: slot.as_deref(),
                };
                match self.publish(session, &publish) {
                    Ok(cursor) => format!("{{\"id\":\"{}\",\"topic\":\"{topic}\"}}\n", cursor.text().as_str()),
                    Err(refused) => return self.refuse(&refused),
                }
            }
            Errand::Send { session } => {
                let mut answers = String::new();
                for command in Commands::read(text) {
                    let answer = match command.expect("clients make no mistakes") {
                        Command::Publish(publish) => self.publish_and_answer(session, &publish),
                        Command::Ack { cursor } => {
                            if let Some(session) = session {
                                self.acknowledge_beside(session, cursor);
                            }
                            None
                        }
                        other => panic!("not in a POST: {other:?}"),
                    };
                    answers.push_str(answer.as_deref().map_or("", |block| std::str::from_utf8(block).expect("text")));
                }
                answers
            }
        };
        let Wire::Http(http) = self.wire else { return };
        let headers = [("Content-Type", "text/event-stream")];
        http.server.respond(&Response::new(200).headers(&headers), answer.as_bytes(), self.out).expect("it fits");
    }

    fn acknowledge_beside(&mut self, session: SessionId, cursor: Cursor) {
        if cursor.log == Some(self.shared.log()) {
            self.shared.acknowledged.note(session, cursor.position, self.now);
            if let Some(&peer) = self.shared.acknowledging.of(session) {
                self.shared.commands.push(Want::Acknowledge(peer, session, cursor));
            }
        }
    }

    /// What a session has received, said beside its connection.
    pub(crate) fn acknowledged_beside(&mut self, session: SessionId, cursor: Cursor) {
        if self.desk.member(self.id.index).is_some_and(|(own, _)| own == session) {
            self.desk.acknowledge(self.id.index, cursor, self.now);
            self.note();
        }
    }

    // Commands.

    fn commands(&mut self, text: &str) {
        for command in Commands::read(text) {
            let answer = self.obey(&command.expect("clients make no mistakes"));
            if let Some(answer) = answer
                && !self.hand_block(&answer)
            {
                return;
            }
        }
        self.pump();
        if let Some(HubLine::Subscriber(subscriber)) = &self.state.line
            && self.now.saturating_duration_since(subscriber.told) >= self.shared.heartbeat / 4
        {
            self.beat();
        }
    }

    fn obey(&mut self, command: &Command<'_>) -> Option<bytes::Bytes> {
        let index = self.id.index;
        let (session, _) = self.desk.member(index)?;
        match command {
            Command::Subscribe { topic, cursor } => {
                let head = self.shared.head().position;
                match self.desk.subscribe(index, topic, *cursor, head).expect("there is room for topics") {
                    Subscribed::New => None,
                    Subscribed::Already => Some(notice::subscribed(topic, self.desk.position_of(index))),
                }
            }
            Command::Unsubscribe { topic } => {
                self.desk.unsubscribe(index, topic);
                Some(notice::unsubscribed(topic, notice::Ended::Asked))
            }
            Command::Ack { cursor } => {
                self.desk.acknowledge(index, *cursor, self.now);
                None
            }
            Command::Publish(publish) => self.publish_and_answer(Some(session), publish),
            other => panic!("not in this world: {other:?}"),
        }
    }

    fn publish_and_answer(&mut self, session: Option<SessionId>, publish: &Publish<'_>) -> Option<bytes::Bytes> {
        match self.publish(session, publish) {
            Ok(cursor) => publish.key.map(|key| notice::ack(publish.topic, key, cursor)),
            Err(Refused(status, cause)) => {
                let after = (status == 503).then_some(Duration::from_secs(1));
                let (topic, key) = (Some(publish.topic), publish.key);
                Some(notice::Error { topic, status, command: "publish", key, cause, after }.block())
            }
        }
    }

    fn publish(&mut self, session: Option<SessionId>, publish: &Publish<'_>) -> Result<Cursor, Refused> {
        publish.check().map_err(|error| Refused(error.status(), error.to_string()))?;
        self.desk
            .count_command(self.id.index, session, self.now)
            .map_err(|error| Refused(error.status(), error.to_string()))?;
        let event = sse::Event { event: publish.event, data: &publish.data, id: None, topic: None };
        let entry = match publish.keep {
            Kept::Ephemeral => Entry::ephemeral(publish.topic, &event),
            Kept::Retained => Entry::in_slot(publish.topic, &event, publish.slot.unwrap_or_default()),
        };
        let entry = entry.map_err(|error| Refused(error.status(), error.to_string()))?;
        let except = if publish.audience == To::Others { session } else { None };
        let key = match (publish.key, session) {
            (None, _) => None,
            (Some(key), Some(session)) => Some((Owner::session(session), key)),
            // It is of a log that is gone: the next attach brings another.
            (Some(_), None) => return Err(Refused(503, "a key is a session's, and there is none".into())),
        };
        self.shared.append(entry, except, key, self.now).map_err(|error| Refused(error.status(), error.to_string()))
    }

    // A subscriber's line.

    /// Gives a subscriber what it has still to get, as much as its queue takes.
    pub(crate) fn pump(&mut self) {
        match self.state.line {
            Some(HubLine::Poll(_)) => return self.look(),
            Some(HubLine::Subscriber(_)) => {}
            None => return,
        }
        let limit = self.shared.queue;
        let mut items = Vec::new();
        while self.desk.is_behind(self.id.index) {
            let queued = self.out.len();
            if queued > limit / 4 {
                self.state.pumps = true;
                break;
            }
            let first = if queued == 0 { First::Any } else { First::Fitting };
            let most = Most { events: 256, bytes: limit / 2 - queued, first };
            let pulled = self.desk.pull(self.id.index, most, self.now, &mut items);
            let nothing = items.is_empty();
            for item in items.drain(..) {
                let sent = match &item {
                    Item::Publication(publication) => self.hand(publication),
                    Item::Notice(block) => self.hand_block(block),
                };
                if !sent {
                    // What does not fit an empty queue was never published: it is over.
                    assert!(!self.is_open(), "a block that does not fit behind {} bytes", self.out.len());
                    return;
                }
            }
            match pulled {
                Pulled::Attached => self.beat(),
                Pulled::More if nothing => {
                    self.state.pumps = true;
                    break;
                }
                Pulled::More => {}
                Pulled::CaughtUp => break,
            }
        }
        self.note();
    }

    fn is_open(&self) -> bool {
        match &self.wire {
            Wire::WebSocket(ws) => ws.is_open(),
            Wire::Http(http) => {
                matches!(http.mode, Mode::Stream(_)) && !http.server.is_finished() && http.server.coding().is_some()
            }
            Wire::Blocks(_) => !self.state.over,
        }
    }

    /// Sees to what follows from the desk's word.
    fn note(&mut self) {
        let due = self.desk.poll_timeout(self.id.index);
        if let Some(HubLine::Subscriber(subscriber)) = &mut self.state.line {
            subscriber.due = due;
        }
    }

    /// Its position, which is the heartbeat.
    fn beat(&mut self) {
        if !matches!(self.state.line, Some(HubLine::Subscriber(_))) {
            return;
        }
        let block = notice::position(self.desk.position_of(self.id.index));
        let now = self.now;
        if self.hand_block(&block)
            && let Some(HubLine::Subscriber(subscriber)) = &mut self.state.line
        {
            subscriber.told = now;
        }
    }

    /// Events of one topic of its were applied.
    pub(crate) fn published(&mut self, publications: &[Arc<Publication>]) {
        match self.state.line {
            Some(HubLine::Poll(_)) => return self.offer_to_poll(publications),
            Some(HubLine::Subscriber(_)) => {}
            None => return,
        }
        let limit = self.shared.queue;
        for publication in publications {
            let session = self.desk.member(self.id.index).map(|(own, _)| own);
            if self.desk.is_plain(self.id.index) && self.out.is_empty() {
                // The short way: the same bytes to everybody's socket.
                if publication.except().is_none() || publication.except() != session {
                    self.hand(publication);
                    self.slow_if_blocked(publication);
                }
                continue;
            }
            if self.desk.offer(self.id.index, publication, self.now) == Offer::Skip {
                continue;
            }
            let ephemeral = publication.entry().is_ephemeral();
            let limit = if ephemeral { limit / 4 } else { limit };
            if self.out.len() + publication.block().len() + FRAME <= limit {
                self.hand(publication);
                self.slow_if_blocked(publication);
            } else if !ephemeral {
                match self.shared.slow(publication.entry().topic()) {
                    SlowReader::Close => return self.give_up(),
                    SlowReader::FallBehind => {
                        self.desk.fall_behind(self.id.index, publication.cursor().position);
                        self.state.pumps = true;
                    }
                }
            }
        }
        self.note();
    }

    fn slow_if_blocked(&mut self, publication: &Publication) {
        if self.out.is_blocked() && self.shared.slow(publication.entry().topic()) == SlowReader::Close {
            self.state.stall.get_or_insert(self.now + STALL);
        }
    }

    fn hand(&mut self, publication: &Publication) -> bool {
        match self.wire {
            Wire::WebSocket(ws) => ws.send_prepared(publication.message(), self.out).is_ok(),
            _ => self.hand_block(publication.block()),
        }
    }

    fn hand_block(&mut self, block: &bytes::Bytes) -> bool {
        match self.wire {
            Wire::WebSocket(ws) => ws.send_text(std::str::from_utf8(block).expect("text"), self.out).is_ok(),
            Wire::Http(http) => match &mut http.mode {
                Mode::Stream(stream) => stream.send_shared(&mut http.server, block, self.out, self.now).is_ok(),
                _ => false,
            },
            Wire::Blocks(_) => self.out.push_shared(&[], block).is_ok(),
        }
    }
}

#[derive(PartialEq, Eq)]
enum Became {
    Answered,
    WebSocket,
}
