//! Echo with permessage-deflate and context takeover both ways.
//!
//! A sequence of messages is compressed once, beginning with an empty window, and every connection plays it over and over: what a message
//! refers to lies within the same pass. Replies are counted by their headers. On one connection they are decompressed, too, from the first
//! to the last, and compared with what was sent.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use crate::Load;
use crate::cells::Deflate;
use crate::json;
use crate::process::Server;
use crate::socket::{self, Poll, READ};
use crate::wire;

/// Messages in the sequence. They are eight times what a window holds, so that one pass tells the next one's compressor nothing.
const MESSAGES: usize = 256;

/// Bytes of a message.
const SIZE: usize = 1024;

/// What a flush ends with and is not sent (RFC 7692, section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

pub struct Lines {
    shape: Deflate,
    poll: Poll,
    sockets: Vec<TcpStream>,
    lines: Vec<Line>,
    sequence: Sequence,
    /// For the first line.
    reader: Reader,
    buffer: Vec<u8>,
    /// Bytes of complete replies.
    replied: u64,
}

impl Lines {
    pub fn connect(server: &Server, shape: Deflate) -> Result<Self, String> {
        let mut lines = Lines {
            shape,
            poll: Poll::new().map_err(|error| format!("epoll: {error}"))?,
            sockets: Vec::with_capacity(shape.connections),
            lines: (0..shape.connections).map(|_| Line::default()).collect(),
            sequence: Sequence::new(shape.depth)?,
            reader: Reader::new(),
            buffer: vec![0; READ],
            replied: 0,
        };
        let request = wire::deflate_request(server.port);
        for line in 0..shape.connections {
            let socket = socket::connect(line, server.port).map_err(|error| format!("connect: {error}"))?;
            socket.set_nodelay(true).map_err(|error| format!("TCP_NODELAY: {error}"))?;
            socket::send(&socket, &request)?;
            let mut head = Vec::new();
            while wire::head_end(&head).is_none() {
                socket::readable(&socket)?;
                head.extend_from_slice(socket::receive(&socket, &mut lines.buffer)?);
            }
            wire::check_deflating(&head).map_err(|error| format!("line {line}: {error}"))?;
            lines.poll.add(&socket, line).map_err(|error| format!("epoll: {error}"))?;
            lines.sockets.push(socket);
        }
        Ok(lines)
    }

    /// One burst on each line. Of a line's first replies every byte is compared, and of the first line's all replies at any time.
    pub fn verify(&mut self) -> Result<(), String> {
        self.drive(Duration::ZERO).map(drop)
    }

    /// A tenth of the time before it counts, then all of it, then no new messages until all are back.
    pub fn run(&mut self, server: &Server, turn: Duration) -> Result<Load, String> {
        let unmeasured = self.drive(turn / 10)?;
        let before = self.replied;
        let load = server.measure(unmeasured, || self.drive(turn))?;
        Ok(Load { replied: self.replied - before, ..load })
    }

    /// Returns the number of messages that came back.
    fn drive(&mut self, turn: Duration) -> Result<u64, String> {
        let end = Instant::now() + turn;
        let Lines { shape, poll, sockets, lines, sequence, reader, buffer, replied } = self;
        let mut firsts: Vec<Option<Reader>> = lines.iter().map(|line| line.is_new().then(Reader::new)).collect();
        for (socket, line) in sockets.iter().zip(&mut *lines) {
            socket::send(socket, line.next(shape.depth, sequence))?;
        }
        let mut in_flight = sockets.len() * shape.depth;
        let mut done = 0;
        while in_flight > 0 {
            let ready = poll.wait()?;
            let over = Instant::now() >= end;
            for at in ready {
                let (socket, line) = (&sockets[at], &mut lines[at]);
                let bytes = socket::receive(socket, buffer)?;
                let count = line.count(bytes).map_err(|error| format!("line {at}: {error}"))?;
                let readers = (at == 0).then_some(&mut *reader).into_iter().chain(&mut firsts[at]);
                for reader in readers {
                    reader.read(bytes, sequence).map_err(|error| format!("line {at}: {error}"))?;
                }
                *replied += bytes.len() as u64;
                done += count as u64;
                in_flight = match over {
                    true => in_flight.checked_sub(count).ok_or("more came back than was sent")?,
                    false => in_flight,
                };
                if count > shape.depth {
                    return Err(format!("line {at} got more messages than it sent"));
                }
                if !over && count > 0 {
                    socket::send(socket, line.next(count, sequence))?;
                }
            }
        }
        if lines.iter().any(|line| line.rest != 0 || line.head_len != 0) {
            return Err("bytes came that belong to no reply".to_owned());
        }
        Ok(done)
    }
}

/// The messages, and their frames one behind the other.
struct Sequence {
    messages: Vec<String>,
    bytes: Vec<u8>,
    /// Where each frame begins; the first ones once more at the end, so that a burst need not be cut.
    starts: Vec<usize>,
}

impl Sequence {
    fn new(depth: usize) -> Result<Self, String> {
        let messages: Vec<String> = (0..MESSAGES as u64).map(|nth| json::message(nth, SIZE)).collect();
        // The level that clients have by default.
        let mut deflate = Compress::new(Compression::default(), false);
        let mut frames = Vec::with_capacity(MESSAGES);
        for message in &messages {
            let mut packed = Vec::with_capacity(2 * SIZE);
            let outcome = deflate.compress_vec(message.as_bytes(), &mut packed, FlushCompress::Sync);
            outcome.map_err(|error| format!("the sequence: {error}"))?;
            let Some(payload) = packed.strip_suffix(&TAIL) else {
                return Err("the sequence is not flushed".to_owned());
            };
            frames.push(wire::deflated_message(payload));
        }
        let (mut bytes, mut starts) = (Vec::new(), vec![0]);
        for frame in frames.iter().chain(&frames[..depth]) {
            bytes.extend_from_slice(frame);
            starts.push(bytes.len());
        }
        Ok(Sequence { messages, bytes, starts })
    }
}

/// One connection.
#[derive(Default)]
struct Line {
    /// Messages sent.
    sent: usize,
    /// The header of a reply, as far as it is there.
    head: [u8; 4],
    head_len: usize,
    /// Bytes of a reply that are yet to come.
    rest: usize,
}

impl Line {
    fn is_new(&self) -> bool {
        self.sent == 0
    }

    /// The next `count` messages' frames.
    fn next<'s>(&mut self, count: usize, sequence: &'s Sequence) -> &'s [u8] {
        let from = self.sent % MESSAGES;
        self.sent += count;
        &sequence.bytes[sequence.starts[from]..sequence.starts[from + count]]
    }

    /// The replies that `bytes` complete. Each is a compressed text message in one frame.
    fn count(&mut self, bytes: &[u8]) -> Result<usize, String> {
        let mut count = 0;
        each_piece(bytes, (&mut self.head, &mut self.head_len, &mut self.rest), |_, ended| {
            count += usize::from(ended);
            Ok(())
        })?;
        Ok(count)
    }
}

/// Decompresses and compares.
struct Reader {
    inflate: Decompress,
    head: [u8; 4],
    head_len: usize,
    rest: usize,
    text: Vec<u8>,
    /// Replies read.
    read: usize,
}

impl Reader {
    fn new() -> Self {
        let text = Vec::with_capacity(2 * SIZE);
        Reader { inflate: Decompress::new(false), head: [0; 4], head_len: 0, rest: 0, text, read: 0 }
    }

    fn read(&mut self, bytes: &[u8], sequence: &Sequence) -> Result<(), String> {
        let Reader { inflate, head, head_len, rest, text, read } = self;
        each_piece(bytes, (head, head_len, rest), |piece, ended| {
            inflate_into(inflate, piece, text)?;
            if ended {
                inflate_into(inflate, &TAIL, text)?;
                if text != sequence.messages[*read % MESSAGES].as_bytes() {
                    let shown = &text[..text.len().min(64)];
                    return Err(format!("reply {read} is another message than was sent: {} ...", shown.escape_ascii()));
                }
                *read += 1;
                text.clear();
            }
            Ok(())
        })
    }
}

fn inflate_into(inflate: &mut Decompress, bytes: &[u8], text: &mut Vec<u8>) -> Result<(), String> {
    let before = inflate.total_in();
    let outcome = inflate.decompress_vec(bytes, text, FlushDecompress::Sync);
    outcome.map_err(|error| format!("a reply does not decompress: {error}"))?;
    match inflate.total_in() - before == bytes.len() as u64 {
        true => Ok(()),
        false => Err("a reply is longer than what was sent, or ends its stream".to_owned()),
    }
}

/// Hands on the payloads that `bytes` hold, piece by piece, and whether a message ends with the piece. The second argument is what is known
/// of a reply that is not all there.
fn each_piece(
    mut bytes: &[u8],
    (head, head_len, rest): (&mut [u8; 4], &mut usize, &mut usize),
    mut piece: impl FnMut(&[u8], bool) -> Result<(), String>,
) -> Result<(), String> {
    while let Some((&first, behind)) = bytes.split_first() {
        if *rest > 0 {
            let (now, behind) = bytes.split_at((*rest).min(bytes.len()));
            bytes = behind;
            *rest -= now.len();
            piece(now, *rest == 0)?;
            continue;
        }
        bytes = behind;
        head[*head_len] = first;
        *head_len += 1;
        if head[0] != wire::TEXT | wire::RSV1 {
            return Err(format!("not a compressed text message in one frame: {first:#x}"));
        }
        *rest = match (*head_len, head[1]) {
            (2, short @ 1..=125) => usize::from(short),
            (4, 126) => usize::from(u16::from_be_bytes([head[2], head[3]])),
            (2, 0 | 127..) => return Err(format!("no reply is of such a length: {:#x}", head[1])),
            _ => continue,
        };
        *head_len = 0;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replies(sequence: &Sequence, count: usize) -> Vec<u8> {
        let mut deflate = Compress::new(Compression::fast(), false);
        let mut replies = Vec::new();
        for message in &sequence.messages[..count] {
            let mut packed = Vec::with_capacity(2 * SIZE);
            deflate.compress_vec(message.as_bytes(), &mut packed, FlushCompress::Sync).unwrap();
            packed.truncate(packed.len() - 4);
            replies.extend([wire::TEXT | wire::RSV1, 126]);
            replies.extend((packed.len() as u16).to_be_bytes());
            replies.extend(packed);
        }
        replies
    }

    #[test]
    fn replies_are_counted_and_compared_wherever_they_are_cut() {
        let sequence = Sequence::new(1).unwrap();
        let replies = replies(&sequence, 5);
        for piece in [1, 7, 500, replies.len()] {
            let (mut line, mut reader) = (Line::default(), Reader::new());
            let counted: usize = replies.chunks(piece).map(|piece| line.count(piece).unwrap()).sum();
            replies.chunks(piece).for_each(|piece| reader.read(piece, &sequence).unwrap());
            assert_eq!((counted, reader.read, line.rest), (5, 5, 0));
        }
    }

    #[test]
    fn a_reply_that_is_not_what_was_sent_is_noticed() {
        let mut sequence = Sequence::new(1).unwrap();
        let replies = replies(&sequence, 5);
        sequence.messages[4].replace_range(20..21, "#");
        let error = Reader::new().read(&replies, &sequence).unwrap_err();
        assert!(error.starts_with("reply 4 is another message"), "{error}");
        assert!(Line::default().count(b"\x81\x01a").is_err());
    }

    #[test]
    fn the_sequence_can_be_played_over_and_over() {
        let sequence = Sequence::new(2).unwrap();
        let mut inflate = Decompress::new(false);
        let mut line = Line::default();
        for nth in 0..3 * MESSAGES {
            let frame = line.next(1, &sequence);
            let head = if frame[1] & 0x7f == 126 { 4 } else { 2 };
            let key = &frame[head..head + 4];
            let payload: Vec<u8> =
                frame[head + 4..].iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
            let mut text = Vec::with_capacity(2 * SIZE);
            inflate_into(&mut inflate, &payload, &mut text).unwrap();
            inflate_into(&mut inflate, &TAIL, &mut text).unwrap();
            assert_eq!(text, sequence.messages[nth % MESSAGES].as_bytes());
        }
    }
}
