//! What a poll asks for.

use crate::http::accept::Preference;
use crate::http::target::{Plus, decode, raw_values};
use crate::http::{RequestHead, Response, ResponseError, Server};
use crate::output::Output;
use crate::sse::HeadOnly;
use alloc::format;
use core::fmt;
use core::time::Duration;

/// How polls are held and answered; shared by all of them. Every value is a valid one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollConfig {
    /// How long a poll is held that does not say. Default 25 s: below the 30 s after which some proxies give a silent answer up.
    pub timeout: Duration,
    /// The longest that a poll may ask for; more counts as this. Default 55 s: below the 60 s of most proxies and clients.
    pub longest: Duration,
    /// Events of one answer. Default 100. 0 counts as 1: what is there is always answered with.
    pub events: usize,
    /// Bytes of one answer's events, encoded. Default 256 KiB. A longer event goes alone.
    pub bytes: usize,
}

impl Default for PollConfig {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(25), longest: Duration::from_secs(55), events: 100, bytes: 256 << 10 }
    }
}

/// In which form an answer goes out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Form {
    /// `application/json`.
    #[default]
    Json,
    /// `text/event-stream`: blocks, and a position block at the end.
    EventStream,
}

impl Form {
    /// The `Content-Type` of its answers.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::EventStream => "text/event-stream",
        }
    }
}

/// What a poll asks for, besides topics and cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// How long it may be held, at most [`PollConfig::longest`]. Zero: it is answered at once, with what there is.
    pub timeout: Duration,
    /// The form of its answer.
    pub form: Form,
    /// The request was a HEAD: it wants the head of an answer and no events, so it is to be answered at once and nothing is to be
    /// taken as delivered.
    pub head_only: HeadOnly,
}

/// Why a poll is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// A method other than GET and HEAD.
    Method,
    /// `Accept` excludes both forms (RFC 9110 section 12.5.1).
    NotAcceptable,
    /// A timeout that is no number of whole seconds, or more than one of them.
    Timeout,
}

impl RequestError {
    /// The status of the answer.
    pub const fn status(self) -> u16 {
        match self {
            Self::Method => 405,
            Self::NotAcceptable => 406,
            Self::Timeout => 400,
        }
    }

    /// Answers the request with the cause in words, and with `headers` besides.
    ///
    /// # Errors
    ///
    /// As for [`Server::respond`].
    pub fn respond(self, http: &mut Server, headers: &[(&str, &str)], out: &mut Output) -> Result<(), ResponseError> {
        let base = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("Allow", "GET, HEAD"),
        ];
        // 405 alone has `Allow` (RFC 9110 section 15.5.6).
        let base = if self == Self::Method { &base[..] } else { &base[..3] };
        http.respond(&Response::new(self.status()).base(base).headers(headers), format!("{self}\n").as_bytes(), out)
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Method => "polls answer GET and HEAD only",
            Self::NotAcceptable => "Accept excludes both application/json and text/event-stream",
            Self::Timeout => "timeout that is not one number of whole seconds",
        })
    }
}

impl core::error::Error for RequestError {}

impl Request {
    /// Reads a poll: its method, `timeout=SECONDS` of its query, and `Accept`. Where both forms are wanted alike, the one that was named
    /// more precisely is taken; JSON by default. O(head).
    ///
    /// # Errors
    ///
    /// Why it is refused; answer with [`RequestError::respond`].
    pub fn read(head: &RequestHead<'_>, config: &PollConfig) -> Result<Self, RequestError> {
        let head_only = match head.method() {
            "GET" => HeadOnly::No,
            "HEAD" => HeadOnly::Yes,
            _ => return Err(RequestError::Method),
        };
        let wanted = |form: Form| Preference::of(form.media_type(), head.headers().all("accept"));
        let (json, events) = (wanted(Form::Json), wanted(Form::EventStream));
        let form = if events > json { Form::EventStream } else { Form::Json };
        if !json.max(events).accepts() {
            return Err(RequestError::NotAcceptable);
        }
        let mut timeouts = raw_values(head.raw_query().unwrap_or_default(), "timeout");
        let timeout = match (timeouts.next(), timeouts.next()) {
            (None, _) => config.timeout,
            (Some(seconds), None) => Duration::from_secs(whole(seconds)?),
            (Some(_), Some(_)) => return Err(RequestError::Timeout),
        };
        Ok(Self { timeout: timeout.min(config.longest), form, head_only })
    }
}

/// A number of digits alone. What is over 64 bits is more than any limit.
fn whole(text: &str) -> Result<u64, RequestError> {
    let text = decode(text, Plus::Space).map_err(|_| RequestError::Timeout)?;
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(RequestError::Timeout);
    }
    let add = |number: u64, digit: u8| number.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Ok(text.bytes().fold(0, add))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::server::Event;
    use crate::http::{HeadLimits, RequestReader, ServerConfig};
    use crate::{Input, Instant};
    use alloc::string::String;
    use alloc::sync::Arc;
    use alloc::vec::Vec;

    fn read_with(config: &PollConfig, line: &str, fields: &str) -> Result<Request, RequestError> {
        let mut bytes = format!("{line} HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes();
        let mut input = Input::new(&mut bytes);
        let head = RequestReader::new().read(&HeadLimits::default(), &mut input).unwrap().unwrap();
        Request::read(&head, config)
    }

    fn read(line: &str, fields: &str) -> Result<Request, RequestError> {
        read_with(&PollConfig::default(), line, fields)
    }

    fn seconds(query: &str) -> Result<u64, u16> {
        let read = read(&format!("GET /poll{query}"), "");
        read.map(|request| request.timeout.as_secs()).map_err(RequestError::status)
    }

    #[test]
    fn l8_a_timeout_is_whole_seconds_up_to_55() {
        for (query, expected) in [
            ("", 25),
            ("?", 25),
            ("?timeouts=1&Timeout=2&x=%zz", 25),
            ("?timeout=0", 0),
            ("?timeout=1", 1),
            ("?timeout=007", 7),
            ("?a=b&timeout=%35&c", 5),
            ("?timeout=54", 54),
            ("?timeout=55", 55),
            ("?timeout=56", 55),
            ("?timeout=9999", 55),
            ("?timeout=18446744073709551615", 55),
            ("?timeout=18446744073709551616", 55),
            ("?timeout=99999999999999999999999999999999", 55),
        ] {
            assert_eq!(seconds(query), Ok(expected), "{query}");
        }
    }

    #[test]
    fn l8_a_timeout_that_is_no_number_of_seconds_is_400() {
        for value in
            ["-1", "", "abc", "1.5", "1e1", "+5", "%2B5", "%205", "5%20", "0x10", "1,2", "%zz", "%ff", "%D9%A3", "5s"]
        {
            assert_eq!(seconds(&format!("?timeout={value}")), Err(400), "{value}");
        }
        assert_eq!(seconds("?timeout"), Err(400));
        assert_eq!(seconds("?timeout=5&timeout=5"), Err(400));
        assert_eq!(seconds("?timeout=5&a=b&timeout"), Err(400));
    }

    #[test]
    fn a_configured_limit_holds_for_the_default_too() {
        let config =
            PollConfig { timeout: Duration::from_secs(90), longest: Duration::from_secs(10), ..PollConfig::default() };
        for line in ["GET /poll", "GET /poll?timeout=11"] {
            assert_eq!(read_with(&config, line, "").unwrap().timeout, Duration::from_secs(10));
        }
    }

    #[test]
    fn the_form_is_what_accept_wants_most_and_json_by_default() {
        let form = |accept: &str| {
            let read = read("GET /poll", &format!("Accept: {accept}\r\n"));
            read.map(|request| request.form).map_err(RequestError::status)
        };
        assert_eq!(read("GET /poll", "").unwrap().form, Form::Json);
        for accept in [
            "",
            "*/*",
            "application/json",
            "application/*",
            "Application/JSON; charset=utf-8",
            "application/json, text/event-stream",
            "text/event-stream;q=0.9, application/json",
            "text/event-stream;q=0, */*;q=0.1",
        ] {
            assert_eq!(form(accept), Ok(Form::Json), "{accept}");
        }
        for accept in
            ["text/event-stream", "text/*", "text/event-stream, */*", "application/json;q=0.8, text/event-stream"]
        {
            assert_eq!(form(accept), Ok(Form::EventStream), "{accept}");
        }
        for accept in ["text/html", "image/*", "application/json;q=0", "*/*;q=0.0", "application/jsonp"] {
            assert_eq!(form(accept), Err(406), "{accept}");
        }
        assert_eq!(read("GET /", "Accept: image/png\r\nAccept: text/*\r\n").unwrap().form, Form::EventStream);
    }

    #[test]
    fn methods_other_than_get_and_head_are_405_with_what_is_allowed() {
        assert_eq!(read("GET /poll", "").unwrap().head_only, HeadOnly::No);
        assert_eq!(read("HEAD /poll", "").unwrap().head_only, HeadOnly::Yes);
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "get", "PATCH"] {
            assert_eq!(read(&format!("{method} /poll"), ""), Err(RequestError::Method), "{method}");
        }
        let mut http = Server::new(Arc::new(ServerConfig::default()), Instant::ORIGIN);
        for (error, allow) in [(RequestError::Method, true), (RequestError::NotAcceptable, false)] {
            let (mut bytes, mut out) = (*b"POST /?<callback> HTTP/1.1\r\nHost: a\r\n\r\n", Output::new());
            let mut input = Input::new(&mut bytes);
            let event = http.next_event(&mut input, &mut out, Instant::ORIGIN);
            assert!(matches!(event, Ok(Some(Event::Request(_)))));
            error.respond(&mut http, &[("X", "y")], &mut out).unwrap();
            let answer = String::from_utf8(out.chunks().flatten().copied().collect::<Vec<u8>>()).unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {} ", error.status())), "{answer}");
            assert_eq!(answer.contains("\r\nAllow: GET, HEAD\r\n"), allow, "{answer}");
            assert!(answer.contains("\r\nX: y\r\n") && answer.ends_with(&format!("\r\n\r\n{error}\n")), "{answer}");
            assert!(!answer.contains("callback"));
            let mut rest = Input::new(&mut []);
            let _ = http.next_event(&mut rest, &mut out, Instant::ORIGIN);
        }
    }
}
