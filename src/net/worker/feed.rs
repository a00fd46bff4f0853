//! Feeding a connection: what was read becomes calls of the handler, and the replies.

use super::serve::{FLUSH, Fed, answer};
use crate::Input;
use crate::http;
use crate::http::server::Event as HttpEvent;
use crate::net::client::ClientStep;
use crate::net::context::{Context, InPlace, Line};
use crate::net::counters::Transport;
use crate::net::handler::{Ended, Handler, Message};
use crate::net::hub::{commands, line, requests};
use crate::net::peer::{Mode, flag};
use crate::sse;
use crate::ws::{self, Connection};
use std::vec::Vec;

/// Feeds a WebSocket and hands out what comes of it.
pub(super) fn feed_websocket<H: Handler>(
    handler: &mut H,
    cx: &mut Context<'_, H::State>,
    input: &mut Input<'_>,
    half: usize,
) -> Fed {
    let now = cx.core.now;
    // Behind a blocked socket it is the queue that counts; else what is written in one go.
    let most = if cx.out.is_blocked() { half } else { half.min(FLUSH) };
    #[cfg(feature = "deflate")]
    if let Line::WebSocket(ws) = &cx.line
        && ws.deflate().is_some()
        && cx.out.len() > half
        && !(input.is_empty() || ws.is_ended())
    {
        return Fed::Flush;
    }
    let mut messages = 0;
    let fed = loop {
        if cx.is_paused() && !input.is_empty() {
            break Fed::Paused;
        }
        let Line::WebSocket(ws) = &mut cx.line else { break Fed::Dry };
        // What a client has not moved may lie there too.
        let address = if ws.is_server() { input.reply_address() } else { InPlace::NOWHERE };
        match ws.next_event_movable(input, cx.out, now) {
            Ok(Some(event @ (ws::Event::Text(_) | ws::Event::Binary(_)))) => {
                let message = match event {
                    ws::Event::Text(text) => Message::Text(text),
                    ws::Event::Binary(bytes) => Message::Binary(bytes),
                    _ => break Fed::Dry,
                };
                messages += 1;
                if cx.meta.has(flag::HUB) {
                    commands::receive(cx, message);
                } else {
                    cx.in_place.address = address;
                    handler.message(message, cx);
                    reply_in_place(cx, input);
                }
            }
            Ok(None) => break Fed::Dry,
            Ok(Some(ws::Event::Closed(closed))) => {
                cx.core.counters.websocket_closed(&closed, cx.meta.age(now));
                cx.meta.clear(flag::REPORTED);
                handler.closed(&Ended::WebSocket(closed), cx);
                break Fed::Over;
            }
            Ok(Some(event)) => {
                if let ws::Event::Pong { round_trip: Some(round_trip), .. } = event {
                    cx.core.counters.round_trip(round_trip);
                }
                handler.frame(&event, cx);
            }
            Err(_) => {}
        }
        if cx.in_place.bytes + cx.out.len() >= most {
            break Fed::Flush;
        }
    };
    cx.core.counters.messages_in.add(messages);
    fed
}

/// Sends the message back that was handled just now, if the handler wants that.
#[inline(always)]
fn reply_in_place<S>(cx: &mut Context<'_, S>, input: &mut Input<'_>) {
    // The address may stay: what a server has not moved lies further behind.
    if let Some(kind) = cx.in_place.reply.take() {
        Connection::reply_in_place(kind, cx.in_place.len, input);
        cx.in_place.bytes = input.replied();
    }
}

/// Feeds an HTTP connection and hands out what comes of it.
pub(super) fn feed_http<H: Handler>(
    handler: &mut H,
    cx: &mut Context<'_, H::State>,
    input: &mut Input<'_>,
    half: usize,
) -> Fed {
    let now = cx.core.now;
    let most = if cx.out.is_blocked() { half } else { half.min(FLUSH) };
    loop {
        if cx.is_paused() && !input.is_empty() {
            return Fed::Paused;
        }
        end_hold(cx);
        let Line::Http(line) = &mut cx.line else { return Fed::Dry };
        match line.http.next_event(input, cx.out, now) {
            Ok(Some(HttpEvent::Request(head))) => {
                cx.core.counters.requests.add(1);
                line.mode = Mode::Plain;
                line.body = Vec::new();
                // Whoever asked before on this connection may have been another: proxies pool them.
                line::leave(cx.id, cx.core, cx.cold, cx.meta);
                if cx.core.draining {
                    line.http.shut_down();
                    answer(line, 503, &[("Retry-After", "1")], cx.out);
                    continue;
                }
                if cx.core.doors.speak_for(cx.id.index, &head.headers(), &cx.core.settings.proxies).is_err() {
                    cx.core.counters.refused.add(1);
                    line.http.shut_down();
                    answer(line, 429, &[("Retry-After", "1")], cx.out);
                    continue;
                }
                handler.request(&head, cx);
            }
            Ok(Some(HttpEvent::Body(data))) => {
                if matches!(line.mode, Mode::Body) {
                    line.body.extend_from_slice(data);
                }
                continue;
            }
            Ok(Some(HttpEvent::BodyEnd)) => {
                if !matches!(line.mode, Mode::Body) {
                    continue;
                }
                line.mode = Mode::Plain;
                let body = std::mem::take(&mut line.body);
                if cx.meta.has(flag::HUB) {
                    requests::body(cx, &body);
                } else {
                    handler.body(&body, cx);
                }
            }
            Ok(Some(HttpEvent::Closed(closed))) => {
                let ended = match line.mode {
                    Mode::Stream(_) => Some((Transport::EventStream, Ended::Stream(closed))),
                    Mode::Held => Some((Transport::LongPoll, Ended::Held(closed))),
                    Mode::Plain | Mode::Body => None,
                };
                if !matches!(line.mode, Mode::Stream(_)) {
                    cx.core.counters.closed(Transport::Http, cx.meta.age(now));
                    if matches!(closed, http::Closed::Error(_)) {
                        cx.core.counters.failed(Transport::Http);
                    }
                }
                if let Some((transport, ended)) = ended
                    && cx.meta.has(flag::REPORTED)
                {
                    cx.meta.clear(flag::REPORTED);
                    cx.core.counters.closed(transport, line.age(now));
                    // A client that simply left is no failure.
                    if !matches!(closed, http::Closed::Finished | http::Closed::PeerClosed) {
                        cx.core.counters.failed(transport);
                    }
                    // A held request that was answered is not one whose client went away.
                    if ended != Ended::Held(http::Closed::Finished) {
                        handler.closed(&ended, cx);
                    }
                }
                return Fed::Over;
            }
            Ok(None) => return Fed::Dry,
            Err(_) => continue,
        }
        let Line::Http(line) = &mut cx.line else { return Fed::Dry };
        if let Some(upgrading) = line.upgraded.take() {
            let seed = cx.core.random.seed();
            return Fed::Upgraded(upgrading.connection(seed, now));
        }
        if matches!(line.mode, Mode::Plain) && line.http.owes_answer() {
            cx.core.counters.failed(Transport::Http);
            answer(line, 500, &[], cx.out);
        }
        if cx.out.len() >= most {
            return Fed::Flush;
        }
    }
}

/// A held request was answered: what the hold needed ends.
fn end_hold<S>(cx: &mut Context<'_, S>) {
    let Line::Http(line) = &mut cx.line else { return };
    if matches!(line.mode, Mode::Held) && !line.http.owes_answer() && !line.http.is_finished() {
        line.mode = Mode::Plain;
        cx.meta.clear(flag::REPORTED);
        cx.core.counters.closed(Transport::LongPoll, line.age(cx.core.now));
        // They would be a riddle to the handler now.
        line::leave(cx.id, cx.core, cx.cold, cx.meta);
        if let Some(cold) = cx.cold {
            cold.timer = None;
        }
    }
}

/// Feeds an outgoing connection that is not a WebSocket, or not yet.
pub(super) fn feed_client<H: Handler>(handler: &mut H, cx: &mut Context<'_, H::State>, input: &mut Input<'_>) -> Fed {
    let now = cx.core.now;
    loop {
        if cx.is_paused() && !input.is_empty() {
            return Fed::Paused;
        }
        let Line::Client(line) = &mut cx.line else { return Fed::Dry };
        match line.step(input, cx.out, now, &mut cx.core.random) {
            ClientStep::Dry => return Fed::Dry,
            ClientStep::Opened(connection) => return Fed::Upgraded(connection),
            ClientStep::Connect => return Fed::Connect,
            ClientStep::Event(event) => {
                handler.event(&event, cx);
                if let sse::EventSourceEvent::Disconnected { .. } = event {
                    return Fed::Disconnected;
                }
            }
            ClientStep::Failed(ended) => {
                handler.closed(&ended, cx);
                return Fed::Over;
            }
        }
    }
}
