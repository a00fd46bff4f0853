//! Held polls and their answers: the part of the glue that follows `src/net/hub/polls.rs`.

use super::hub::Command as Want;
use super::peer::{Cx, HubLine, Mode, Poll, Wire};
use std::sync::Arc;
use tautline::http::ResponseError;
use tautline::hub::{Cursor, First, Item, Most, Offer, Publication, Pulled, notice};
use tautline::poll::{Batch, Form, More, Pushed};
use tautline::sse;

impl Cx<'_> {
    pub(crate) fn begin_poll(&mut self, poll: Poll, hold: bool) {
        let answer = self.collect(poll.form);
        if !hold || !answer.batch.is_empty() {
            self.respond(&poll, answer);
            return self.leave();
        }
        if let Some((session, _)) = self.desk.member(self.id.index)
            && let Some(older) = self.shared.parked.park(session, self.id)
            && older != self.id
        {
            self.shared.commands.push(Want::Release(older));
        }
        self.state.line = Some(HubLine::Poll(poll));
        if let Wire::Http(http) = self.wire {
            http.mode = Mode::Held;
        }
    }

    pub(crate) fn offer_to_poll(&mut self, publications: &[Arc<Publication>]) {
        let Some(HubLine::Poll(poll)) = &self.state.line else { return };
        let mut batch = Batch::new(poll.form, &self.shared.config.poll);
        let mut last = self.desk.position();
        let (mut more, mut before) = (More::No, None);
        for publication in publications {
            if self.desk.is_plain(self.id.index) {
                if publication.except().is_some()
                    && publication.except() == self.desk.member(self.id.index).map(|(own, _)| own)
                {
                    continue;
                }
            } else if self.desk.offer(self.id.index, publication, self.now) == Offer::Skip {
                continue;
            }
            if push(&mut batch, publication) == Pushed::Full {
                more = More::Yes;
                last = before.unwrap_or(last);
                break;
            }
            before = Some(publication.cursor());
        }
        if !batch.is_empty() {
            self.answer(Answer { batch, last, more });
        }
    }

    pub(crate) fn look(&mut self) {
        let Some(HubLine::Poll(poll)) = &self.state.line else { return };
        let form = poll.form;
        let answer = self.collect(form);
        if !answer.batch.is_empty() {
            self.answer(answer);
        }
    }

    /// A held poll is answered with nothing.
    pub(crate) fn release(&mut self) {
        let Some(HubLine::Poll(poll)) = &self.state.line else { return };
        let batch = Batch::new(poll.form, &self.shared.config.poll);
        let last = self.desk.position_of(self.id.index);
        self.answer(Answer { batch, last, more: More::No });
    }

    fn answer(&mut self, answer: Answer) {
        if let Some(HubLine::Poll(poll)) = self.state.line.take() {
            self.respond(&poll, answer);
        }
        self.leave();
        // A request that was pipelined behind it.
        self.receive(&mut []);
    }

    fn respond(&mut self, poll: &Poll, answer: Answer) {
        let Wire::Http(http) = self.wire else { return };
        http.mode = Mode::Plain;
        let answered = answer.batch.finish(answer.last.text().as_str(), answer.more).expect("it was encoded before");
        let outcome = answered.respond(&mut http.server, poll.session.as_deref(), &[], self.out);
        // The answers before it have left: a request waits for that.
        assert!(!matches!(outcome, Err(ResponseError::Full(_))), "{outcome:?}");
        if outcome.is_err() {
            http.server.abort();
        }
    }

    fn collect(&mut self, form: Form) -> Answer {
        let index = self.id.index;
        let config = self.shared.config.poll;
        let mut items = Vec::new();
        let most = Most { events: config.events, bytes: config.bytes, first: First::Any };
        let mut pulled = self.desk.pull(index, most, self.now, &mut items);
        if pulled == Pulled::Attached && self.desk.is_behind(index) {
            pulled = Pulled::More;
        }
        let mut batch = Batch::new(form, &config);
        let mut last = self.desk.position_of(index);
        let mut sent = None;
        let mut more = if pulled == Pulled::More { More::Yes } else { More::No };
        for item in &items {
            let pushed = match item {
                Item::Publication(publication) => push(&mut batch, publication),
                Item::Notice(block) => {
                    let parts = notice::parts(std::str::from_utf8(block).expect("text"));
                    batch.push(
                        block,
                        &sse::Event { id: None, topic: parts.topic, event: parts.event, data: &parts.data },
                    )
                }
            };
            if pushed == Pushed::Full {
                more = More::Yes;
                last.position = sent.unwrap_or_default();
                break;
            }
            if let Item::Publication(publication) = item {
                sent = Some(publication.cursor().position);
            }
        }
        Answer { batch, last, more }
    }
}

struct Answer {
    batch: Batch,
    last: Cursor,
    more: More,
}

fn push(batch: &mut Batch, publication: &Publication) -> Pushed {
    let entry = publication.entry();
    let id = publication.cursor().text();
    let id = (!entry.is_ephemeral()).then_some(id.as_str());
    let event = sse::Event { id, topic: Some(entry.topic()), event: entry.event(), data: entry.data() };
    batch.push(publication.block(), &event)
}
