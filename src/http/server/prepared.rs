//! An answer made once for many requests: head and body as one piece of shared bytes.

use super::{Answer, Method, Persistence, Server};
use crate::http::head::Version;
use crate::http::response::{Decimal, Response, ResponseError};
use crate::output::Output;
use bytes::{Bytes, BytesMut};
use core::fmt;

/// A whole answer, head and body, as an HTTP/1.1 connection that goes on gets it: made once, given to any number of requests by
/// [`Server::respond_prepared`]. Cheap to clone.
///
/// Nothing of one connection is in it. Where header lines differ between receivers (a session, the origin of a page), make one for each
/// set of them, or answer those receivers by [`Server::respond_shared`].
///
/// ```
/// use tautline::http::{PreparedAnswer, Response};
/// let answer = PreparedAnswer::new(&Response::new(200).headers(&[("Content-Type", "text/plain")]), b"hi")?;
/// assert_eq!(&answer.bytes()[..], b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nhi");
/// # Ok::<(), tautline::http::ResponseError>(())
/// ```
#[derive(Clone)]
pub struct PreparedAnswer {
    bytes: Bytes,
    body_at: usize,
    /// What its head says.
    persistence: Persistence,
}

impl PreparedAnswer {
    /// Writes `response` with `body`. O(n): copied once.
    ///
    /// # Errors
    ///
    /// What [`Server::respond`] would refuse in every connection: a status, a header field, a body where there is none.
    pub fn new(response: &Response<'_>, body: &[u8]) -> Result<Self, ResponseError> {
        response.check()?;
        if response.is_bodiless() && !body.is_empty() {
            return Err(ResponseError::BodyNotAllowed);
        }
        let persistence = if response.closes() { Persistence::Close } else { Persistence::Keep };
        let length = Decimal::new(body.len() as u64);
        let own = [("Content-Length", length.as_str()), ("Connection", "close")];
        // As for `Server::respond`: neither 204 nor 304 has a length.
        let from = usize::from(matches!(response.status(), 204 | 304));
        let to = if persistence == Persistence::Close { 2 } else { 1 };
        let own = own.get(from..to).unwrap_or_default();
        let head = response.head_len(own);
        let mut bytes = BytesMut::zeroed(head + body.len());
        response.fill(own, body, &mut bytes);
        Ok(Self { bytes: bytes.freeze(), body_at: head, persistence })
    }

    /// All of it: what goes to the socket of an HTTP/1.1 connection that goes on.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        self.bytes.get(self.body_at..).unwrap_or_default()
    }

    /// The head without the empty line behind it.
    fn lines(&self) -> &[u8] {
        self.bytes.get(..self.body_at - END.len()).unwrap_or_default()
    }
}

impl fmt::Debug for PreparedAnswer {
    /// Without its content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedAnswer").field("len", &self.bytes.len()).finish_non_exhaustive()
    }
}

/// What ends a head.
const END: &[u8] = b"\r\n";

impl Server {
    /// Answers the present request with what was prepared for many: byte for byte what [`respond_shared`](Self::respond_shared) writes,
    /// up to the order of the engine's own fields.
    ///
    /// To a GET or POST over HTTP/1.1 on a connection that goes on, its bytes go as they are, by reference where they are long (16 KiB
    /// and more, or 64 bytes and more while the socket blocks). To a HEAD, to HTTP/1.0, or where the connection ends with the answer,
    /// the head is written out with the line that says so.
    ///
    /// # Errors
    ///
    /// [`ResponseError::NotOwed`] or [`ResponseError::Full`]; nothing was written, and what was owed still is.
    pub fn respond_prepared(&mut self, prepared: &PreparedAnswer, out: &mut Output) -> Result<(), ResponseError> {
        if self.answer != Answer::Owed {
            return Err(ResponseError::NotOwed);
        }
        let persistence = self.persistence_after(prepared.persistence);
        let connection = self.connection_line(prepared, persistence);
        match (self.method, connection) {
            (Method::Other, None) => out.push_shared(&[], &prepared.bytes)?,
            (method, connection) => {
                let body = match method {
                    Method::Head => &[],
                    Method::Other => prepared.body(),
                };
                let parts = [prepared.lines(), connection.unwrap_or_default(), END, body];
                let mut space = out.space(parts.iter().map(|part| part.len()).sum())?;
                for part in parts {
                    let (to, rest) = space.split_at_mut(part.len());
                    to.copy_from_slice(part);
                    space = rest;
                }
            }
        }
        self.persistence = persistence;
        self.complete();
        Ok(())
    }

    /// Takes the present request as answered by [`PreparedAnswer::bytes`], which the caller writes to the socket itself, behind
    /// everything that it had to write before: the way to answer thousands without passing each answer through an [`Output`].
    ///
    /// # Errors
    ///
    /// Nothing changed, and nothing is to be written: [`ResponseError::NotOwed`], or [`ResponseError::NotAsPrepared`] where those bytes
    /// are not the right ones here; then [`respond_prepared`](Self::respond_prepared) writes those that are.
    pub fn note_prepared(&mut self, prepared: &PreparedAnswer) -> Result<(), ResponseError> {
        if self.answer != Answer::Owed {
            return Err(ResponseError::NotOwed);
        }
        let persistence = self.persistence_after(prepared.persistence);
        if self.method == Method::Head || self.connection_line(prepared, persistence).is_some() {
            return Err(ResponseError::NotAsPrepared);
        }
        self.persistence = persistence;
        self.complete();
        Ok(())
    }

    /// The line that the prepared head lacks here. (One that says `close` is right everywhere: then the connection closes.)
    fn connection_line(&self, prepared: &PreparedAnswer, persistence: Persistence) -> Option<&'static [u8]> {
        match (prepared.persistence, persistence, self.version) {
            (Persistence::Close, ..) => None,
            (Persistence::Keep, Persistence::Close, _) => Some(b"Connection: close\r\n"),
            (Persistence::Keep, Persistence::Keep, Version::Http10) => Some(b"Connection: keep-alive\r\n"),
            (Persistence::Keep, Persistence::Keep, Version::Http11) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::ServerConfig;
    use crate::http::server::Event;
    use crate::{Input, Instant};
    use alloc::format;
    use alloc::string::String;
    use alloc::sync::Arc;
    use alloc::vec::Vec;

    const HEADERS: [(&str, &str); 2] = [("Content-Type", "text/plain"), ("Cache-Control", "no-store")];

    /// A connection that has just read `request`.
    fn asked(request: &str) -> Server {
        let mut server = Server::new(Arc::new(ServerConfig::default()), Instant::ORIGIN);
        let (mut bytes, mut out) = (request.as_bytes().to_vec(), Output::new());
        let mut input = Input::new(&mut bytes);
        while let Ok(Some(event)) = server.next_event(&mut input, &mut out, Instant::ORIGIN) {
            assert!(!matches!(event, Event::Closed(_)), "{request}");
        }
        assert!(out.is_empty() && server.owes_answer());
        server
    }

    fn written(out: &Output) -> String {
        String::from_utf8(out.chunks().flatten().copied().collect::<Vec<u8>>()).unwrap()
    }

    /// The lines of the head in some order, and the body.
    fn parts(answer: &str) -> (Vec<&str>, &str) {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let mut lines: Vec<&str> = head.split("\r\n").collect();
        lines[1..].sort_unstable();
        (lines, body)
    }

    #[test]
    fn a_prepared_answer_is_what_respond_writes_to_every_client() {
        let mut as_they_are = 0;
        for method in ["GET", "HEAD", "POST"] {
            for version in ["1.0", "1.1"] {
                for connection in ["", "Connection: close\r\n", "Connection: keep-alive\r\n"] {
                    for status in [200, 204, 503] {
                        for closes in [false, true] {
                            for long in [2, 40_000] {
                                let request = format!("{method} / HTTP/{version}\r\nHost: a\r\n{connection}\r\n");
                                let body = if status == 204 { Vec::new() } else { alloc::vec![b'x'; long] };
                                let response = Response::new(status).headers(&HEADERS);
                                let response = if closes { response.close() } else { response };
                                let prepared = PreparedAnswer::new(&response, &body).unwrap();
                                assert_eq!(prepared.body(), body);

                                let (mut plain, mut expected) = (asked(&request), Output::new());
                                plain.respond(&response, &body, &mut expected).unwrap();
                                let (mut server, mut out) = (asked(&request), Output::new());
                                server.respond_prepared(&prepared, &mut out).unwrap();
                                let (expected, answer) = (written(&expected), written(&out));
                                assert_eq!(parts(&answer), parts(&expected), "{request}");
                                assert_eq!(format!("{server:?}"), format!("{plain:?}"));
                                assert_eq!(
                                    server.respond_prepared(&prepared, &mut Output::new()),
                                    Err(ResponseError::NotOwed)
                                );

                                // The bytes without an output, exactly where they are the right ones.
                                let mut server = asked(&request);
                                let right = answer.as_bytes() == &prepared.bytes()[..];
                                match server.note_prepared(&prepared) {
                                    Ok(()) => {
                                        assert!(right, "{request}");
                                        assert_eq!(format!("{server:?}"), format!("{plain:?}"));
                                        assert_eq!(server.note_prepared(&prepared), Err(ResponseError::NotOwed));
                                        as_they_are += 1;
                                    }
                                    Err(error) => {
                                        assert_eq!(error, ResponseError::NotAsPrepared);
                                        assert!((!right || method == "HEAD") && server.owes_answer(), "{request}");
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
        assert!(as_they_are > 50, "{as_they_are}");
    }

    #[test]
    fn a_prepared_answer_that_does_not_fit_stays_owed() {
        let prepared = PreparedAnswer::new(&Response::new(200), b"body").unwrap();
        for request in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.0\r\n\r\n"] {
            let (mut server, mut small) = (asked(request), Output::with_limit(20));
            let full = server.respond_prepared(&prepared, &mut small);
            assert!(matches!(full, Err(ResponseError::Full(_))) && small.is_empty() && server.owes_answer());
            server.respond_prepared(&prepared, &mut Output::new()).unwrap();
        }
    }

    #[test]
    fn the_next_request_of_the_connection_follows() {
        let prepared = PreparedAnswer::new(&Response::new(200), b"body").unwrap();
        let mut server = asked("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        for _ in 0..3 {
            server.note_prepared(&prepared).unwrap();
            let mut bytes = *b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n";
            let (mut input, mut out) = (Input::new(&mut bytes), Output::new());
            let event = server.next_event(&mut input, &mut out, Instant::ORIGIN);
            assert!(matches!(event, Ok(Some(Event::Request(head))) if head.path() == "/2"));
            // An answer before the request's end is known: the bytes are right, and what follows is dropped as ever.
            server.respond_prepared(&prepared, &mut out).unwrap();
            assert_eq!(written(&out).as_bytes(), &prepared.bytes()[..]);
            let mut bytes = *b"GET /3 HTTP/1.1\r\nHost: a\r\n\r\n";
            let mut input = Input::new(&mut bytes);
            while let Ok(Some(_)) = server.next_event(&mut input, &mut out, Instant::ORIGIN) {}
            assert!(server.owes_answer());
        }
    }

    #[test]
    fn what_no_connection_could_answer_is_not_prepared() {
        let new = |response: &Response<'_>, body: &[u8]| PreparedAnswer::new(response, body).err();
        assert_eq!(new(&Response::new(101), b""), Some(ResponseError::Status));
        assert_eq!(new(&Response::new(204), b"x"), Some(ResponseError::BodyNotAllowed));
        for field in [("a", "b\r\nc: d"), ("Content-Length", "1"), ("Connection", "close"), ("", "x")] {
            assert!(matches!(new(&Response::new(200).headers(&[field]), b""), Some(ResponseError::Field(_))));
        }
    }
}
