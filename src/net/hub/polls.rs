//! Held polls and their answers.

use super::line::{self, HubLine, hub_line};
use super::requests::{Known, Seen, leave};
use crate::http::{PreparedAnswer, Response};
use crate::hub::{First, Item, Most, SessionToken, notice};
use crate::net::context::{Context, Line};
use crate::net::counters::Transport;
use crate::net::peer::{Mode, flag};
use crate::net::publish::Published;
use crate::poll::{Batch, Form, More, PollConfig, Pushed};
use crate::sse;
use crate::time::Instant;
use std::cell::RefCell;
use std::rc::Rc;
use std::string::String;
use std::sync::Arc;
use std::vec::Vec;

/// A poll that waits.
pub(crate) struct Poll {
    pub(super) form: Form,
    pub(crate) until: Instant,
    pub(super) known: Known,
    /// Header lines of the application's.
    pub(super) headers: Headers,
}

/// Header lines that outlive the request: one copy for all whose lines are the same, as most are.
#[derive(Clone, Default)]
pub(crate) struct Headers(Option<Arc<Vec<(String, String)>>>);

/// Sets of header lines that are known: those of the pages that ask, for CORS.
#[derive(Default)]
pub(crate) struct HeaderSets(Vec<Headers>);

impl HeaderSets {
    /// More are not remembered: each request has its own then.
    const MOST: usize = 16;

    pub(super) fn get(&mut self, headers: &[(&str, &str)]) -> Headers {
        if headers.is_empty() {
            return Headers(None);
        }
        if let Some(known) = self.0.iter().find(|known| known.is(headers)) {
            return known.clone();
        }
        let lines = headers.iter().map(|&(name, value)| (name.into(), value.into())).collect();
        let headers = Headers(Some(Arc::new(lines)));
        if self.0.len() == Self::MOST {
            self.0.remove(0);
        }
        self.0.push(headers.clone());
        headers
    }
}

impl Headers {
    fn is(&self, headers: &[(&str, &str)]) -> bool {
        let own = self.0.as_ref().map_or(&[][..], |lines| lines);
        own.len() == headers.len()
            && own.iter().zip(headers).all(|((name, value), other)| (&**name, &**value) == *other)
    }

    /// Whether they are one copy.
    fn same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    pub(super) fn lines(&self) -> Vec<(&str, &str)> {
        self.0.iter().flat_map(|lines| lines.iter()).map(|(name, value)| (&**name, &**value)).collect()
    }
}

/// What a poll is answered with.
struct Answer {
    batch: Batch,
    last: crate::hub::Cursor,
    more: More,
}

/// Answers a poll at once, if there is something to answer or `wait` is not what it wants; or holds it.
pub(super) fn begin<S>(cx: &mut Context<'_, S>, poll: Poll, wait: Wait, seen: Seen) {
    let answer = collect(cx, poll.form);
    // What was published before this request came belongs to its answer, and comes at the end of the turn.
    let behind = wait == Wait::Applied && cx.core.log.appended() != cx.core.delivered;
    let waits = wait == Wait::Yes || behind;
    if !waits || !answer.batch.is_empty() {
        respond(cx, &poll, answer);
        leave(cx, seen);
        return;
    }
    let session = cx.core.desk.member(cx.id.index).map(|(session, _)| session);
    if let Some(hub) = cx.core.hub.clone()
        && let Some(session) = session
        && poll.known == Known::Before
        && let Some(older) = hub.parked().park(session, cx.id)
        && older != cx.id
    {
        cx.core.commands.push(crate::net::core::Command::Release(older));
    }
    line::set_hub_line(cx, HubLine::Poll(poll));
    if let Line::Http(line) = &mut cx.line {
        line.mode = Mode::Held;
        line.since = cx.core.now;
        cx.core.counters.opened(Transport::LongPoll);
        cx.meta.set(flag::REPORTED);
    }
    note(cx);
}

/// Whether a poll may be held.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    Yes,
    /// Only until this worker has applied what was published before.
    Applied,
    No,
}

fn note<S>(cx: &mut Context<'_, S>) {
    if cx.core.desk.is_plain(cx.id.index) {
        cx.meta.clear(flag::ASIDE);
    } else {
        cx.meta.set(flag::ASIDE);
    }
}

/// Events of one topic for its subscribers, and the answer that they are to polls: made once for all that are alike.
pub(crate) struct Offered<'a> {
    pub(crate) publications: &'a [Arc<Published>],
    answers: RefCell<Vec<Alike>>,
}

/// What polls that are alike are answered with; `None` where the events are too many for one answer.
struct Alike {
    form: Form,
    headers: Headers,
    answer: Option<Rc<PreparedAnswer>>,
}

impl<'a> Offered<'a> {
    pub(crate) const fn new(publications: &'a [Arc<Published>]) -> Self {
        Self { publications, answers: RefCell::new(Vec::new()) }
    }

    /// The answer to a poll that was live before these events, gets all of them, and nothing else.
    fn answer(&self, form: Form, headers: &Headers, config: &PollConfig) -> Option<Rc<PreparedAnswer>> {
        let mut answers = self.answers.borrow_mut();
        if let Some(made) = answers.iter().find(|made| made.form == form && made.headers.same(headers)) {
            return made.answer.clone();
        }
        let answer = self.make(form, headers, config).map(Rc::new);
        // More kinds than there are sets of header lines are kinds of one.
        if answers.len() < 2 * HeaderSets::MOST {
            answers.push(Alike { form, headers: headers.clone(), answer: answer.clone() });
        }
        answer
    }

    fn make(&self, form: Form, headers: &Headers, config: &PollConfig) -> Option<PreparedAnswer> {
        let mut batch = Batch::new(form, config);
        for published in self.publications {
            if push(&mut batch, published) == Pushed::Full {
                return None;
            }
        }
        // They are what was applied last.
        let last = self.publications.last()?.cursor();
        batch.finish(last.text().as_str(), More::No).ok()?.prepare(&headers.lines()).ok()
    }
}

/// Something was published to a topic of a held poll's.
pub(super) fn offer<S>(cx: &mut Context<'_, S>, offered: &Offered<'_>) {
    let index = cx.id.index;
    let publications = offered.publications;
    let plain = !cx.meta.has(flag::ASIDE) && publications.iter().all(|published| published.is_for_all());
    let Some(HubLine::Poll(poll)) = hub_line(cx) else { return };
    if plain && poll.known == Known::Before {
        let (form, headers) = (poll.form, poll.headers.clone());
        let config = cx.core.desk.config().poll;
        if let Some(prepared) = offered.answer(form, &headers, &config)
            && let Line::Http(line) = &mut cx.line
            && line.http.respond_prepared(&prepared, cx.out).is_ok()
        {
            line::leave(cx.id, cx.core, cx.cold, cx.meta);
            return;
        }
    }
    let Some(HubLine::Poll(poll)) = hub_line(cx) else { return };
    let mut batch = Batch::new(poll.form, &cx.core.desk.config().poll);
    // Not this worker's: a poll that is ahead of it gets what is ephemeral, and must not be taken back by that.
    let mut last = cx.core.desk.position_of(index);
    let mut more = More::No;
    let mut before = None;
    for published in publications {
        let Some(publication) = published.publication() else { continue };
        if cx.core.desk.offer(index, publication, cx.core.now) == crate::hub::Offer::Skip {
            continue;
        }
        if push(&mut batch, published) == Pushed::Full {
            more = More::Yes;
            last = before.unwrap_or(last);
            break;
        }
        before = Some(published.cursor());
    }
    if !batch.is_empty() {
        answer(cx, Answer { batch, last, more });
    }
}

/// A held poll's cursor was ahead of this worker, and is not any more.
pub(super) fn look<S>(cx: &mut Context<'_, S>) {
    let Some(HubLine::Poll(poll)) = hub_line(cx) else { return };
    let form = poll.form;
    let collected = collect(cx, form);
    if !collected.batch.is_empty() {
        answer(cx, collected);
    } else {
        note(cx);
    }
}

/// A held poll is answered with nothing: its time is up, or a newer one of its session has come.
pub(crate) fn release<S>(cx: &mut Context<'_, S>) {
    let Some(HubLine::Poll(poll)) = hub_line(cx) else { return };
    let batch = Batch::new(poll.form, &cx.core.desk.config().poll);
    let last = cx.core.desk.position_of(cx.id.index);
    answer(cx, Answer { batch, last, more: More::No });
}

/// A held poll is answered with one of the protocol's own blocks.
pub(super) fn tell<S>(cx: &mut Context<'_, S>, block: &[u8]) {
    let Some(HubLine::Poll(poll)) = hub_line(cx) else { return };
    let mut batch = Batch::new(poll.form, &cx.core.desk.config().poll);
    let _ = push_notice(&mut batch, block);
    let last = cx.core.desk.position_of(cx.id.index);
    answer(cx, Answer { batch, last, more: More::No });
}

/// Answers a held poll. What was held ends where the connection is fed next.
fn answer<S>(cx: &mut Context<'_, S>, answer: Answer) {
    let Some(line) = cx.cold.as_mut().and_then(|cold| cold.hub.take()) else { return };
    if let HubLine::Poll(poll) = *line {
        respond(cx, &poll, answer);
    }
    line::leave(cx.id, cx.core, cx.cold, cx.meta);
}

fn respond<S>(cx: &mut Context<'_, S>, poll: &Poll, answer: Answer) {
    let session = match poll.known {
        Known::Before => None,
        Known::New => token(cx),
    };
    let session = session.as_ref().map(SessionToken::as_str);
    let Answer { batch, last, more } = answer;
    if write(cx, batch, last, more, session, &poll.headers) {
        return;
    }
    // One event may be longer in JSON than a queue may be, and would be so with every poll: its client is told that it cannot have it.
    let mut batch = Batch::new(poll.form, &cx.core.desk.config().poll);
    let topics = cx.core.desk.topics().topics_of(cx.id.index);
    if let Some(gap) = notice::gap(topics.map(|topic| (topic, notice::GapReason::Expired))) {
        let _ = push_notice(&mut batch, &gap);
    }
    if !write(cx, batch, last, more, session, &poll.headers)
        && let Line::Http(line) = &mut cx.line
    {
        line.http.abort();
    }
}

/// Writes an answer; whether that could be done.
fn write<S>(
    cx: &mut Context<'_, S>,
    batch: Batch,
    last: crate::hub::Cursor,
    more: More,
    session: Option<&str>,
    headers: &Headers,
) -> bool {
    let Ok(answer) = batch.finish(last.text().as_str(), more) else { return false };
    let fields = answer.fields(session);
    let lines = headers.lines();
    cx.respond_shared(&Response::new(200).base(fields.as_slice()).headers(&lines), answer.body()).is_ok()
}

/// The token of the session that was made for a poll: with the same id it is the same.
fn token<S>(cx: &Context<'_, S>) -> Option<SessionToken> {
    let (session, identity) = cx.core.desk.member(cx.id.index)?;
    Some(cx.core.hub.as_ref()?.sessions.mint(session.0, identity.user.as_deref()))
}

/// What there is for a poll behind its cursor.
fn collect<S>(cx: &mut Context<'_, S>, form: Form) -> Answer {
    let index = cx.id.index;
    let config = cx.core.desk.config().poll;
    let before = cx.core.desk.position_of(index).position;
    let mut items = Vec::new();
    let most = Most { events: config.events, bytes: config.bytes, first: First::Any };
    // What has a cursor of its own says nothing of the others'.
    let own: Vec<String> = cx.core.desk.catching_up(index).map(String::from).collect();
    let is_own = |published: &Published| own.iter().any(|own| own == published.topic());
    let mut pulled = cx.core.desk.pull(index, most, cx.core.now, &mut items);
    // That is how every attach ends; here it is the answer's own end.
    if pulled == crate::hub::Pulled::Attached && cx.core.desk.is_behind(index) {
        pulled = crate::hub::Pulled::More;
    }
    let mut batch = Batch::new(form, &config);
    let mut last = cx.core.desk.position_of(index);
    let mut sent = before;
    let mut more = if pulled == crate::hub::Pulled::More { More::Yes } else { More::No };
    for item in &items {
        let pushed = match item {
            Item::Publication(published) => push(&mut batch, published),
            Item::Notice(block) => push_notice(&mut batch, block),
        };
        if pushed == Pushed::Full {
            // In this form it is longer than as blocks. What was left out comes with the next poll.
            more = More::Yes;
            // The topics with cursors of their own come last, and their client knows where each is.
            if !matches!(item, Item::Publication(published) if is_own(published)) {
                last.position = sent;
            }
            break;
        }
        if let Item::Publication(published) = item {
            sent = sent.max(published.cursor().position);
        }
    }
    Answer { batch, last, more }
}

fn push(batch: &mut Batch, published: &Published) -> Pushed {
    let (Some(publication), Some(block)) = (published.publication(), published.block()) else { return Pushed::Taken };
    let entry = publication.entry();
    let id = published.cursor().text();
    let id = (!entry.is_ephemeral()).then_some(id.as_str());
    batch.push(block, &sse::Event { id, topic: Some(entry.topic()), event: entry.event(), data: entry.data() })
}

/// One of the protocol's own, out of the block that was made of it.
fn push_notice(batch: &mut Batch, block: &[u8]) -> Pushed {
    let text = std::str::from_utf8(block).unwrap_or_default();
    let parts = notice::parts(text);
    batch.push(block, &sse::Event { id: None, topic: parts.topic, event: parts.event, data: &parts.data })
}
