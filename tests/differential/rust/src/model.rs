//! What a case must come to, written from the RFCs alone: whole streams, copies, no state between calls.
//!
//! With no deviation it says what tautline does. Each [`Deviation`] changes one rule, and an implementation is explained when its
//! outcome is exactly the model's under the deviations that are listed for it: there is no room for anything else.

use crate::case::{BINARY, CLOSE, CONTINUATION, Case, End, FIN, Outcome, PING, PONG, Role, TEXT, digest, masked};
use crate::deviations::{Deviation, Deviations};
use crate::inflate::{State, inflate};

/// What the rules make of `case`.
pub fn model(case: &Case, deviations: Deviations) -> Outcome {
    let mut model = Model {
        case,
        deviations,
        outcome: Outcome::default(),
        message: None,
        text: Utf8::default(),
        stream: Stream::default(),
        contexts: 0,
        waiting: Vec::new(),
    };
    model.outcome.end = match model.run() {
        Ok(()) => End::Open,
        Err(end) => end,
    };
    model.outcome
}

struct Model<'a> {
    case: &'a Case,
    deviations: Deviations,
    outcome: Outcome,
    message: Option<Message>,
    text: Utf8,
    /// What the peer compresses with.
    stream: Stream,
    /// Compressed messages that were read to their end.
    contexts: usize,
    /// Compressed bytes that are not looked at yet.
    waiting: Vec<u8>,
}

/// A message that has begun.
struct Message {
    opcode: u8,
    fragments: u32,
    /// Payload bytes announced, and what was delivered of them.
    announced: u64,
    payload: Vec<u8>,
    compressed: bool,
    /// The next frame says whether it is.
    forgotten: bool,
}

/// A DEFLATE stream.
#[derive(Default)]
struct Stream {
    /// Everything since it began.
    bytes: Vec<u8>,
    /// Bytes made of it so far.
    made: usize,
    /// Where the message began, or the stream within it.
    from: usize,
    /// Between two blocks.
    at_boundary: bool,
    /// Nothing came since the one before ended.
    just_ended: bool,
    /// The four bytes that are put back are what is corrupt.
    corrupt_in_tail: bool,
    /// It has ended, and the next frame is passed over.
    passes_next: bool,
    /// It has ended, and nothing follows.
    dead: bool,
    /// And whoever goes on with it fails.
    broken: bool,
}

/// A header on its way through the rules.
struct Header {
    fin: bool,
    reserved: u8,
    opcode: u8,
    masks: bool,
    len: u64,
}

/// The first reserved bit.
const RSV1: u8 = 0x40;

const PROTOCOL: End = End::Failed(Some(1002));
const NOT_UTF8: End = End::Failed(Some(1007));
const POLICY: End = End::Failed(Some(1008));
const TOO_BIG: End = End::Failed(Some(1009));

impl Model<'_> {
    fn has(&self, deviation: Deviation) -> bool {
        self.deviations.has(deviation)
    }

    /// `Ok`: every byte was read, and the connection is open.
    fn run(&mut self) -> Result<(), End> {
        use Deviation::*;
        let case = self.case;
        let mut rest = &case.bytes[..];
        loop {
            let [first, second, tail @ ..] = rest else { return Ok(()) };
            let (short, wide) = match second & 0x7f {
                126 => (0, 2),
                127 => (0, 8),
                short => (u64::from(short), 0),
            };
            let mut header = Header {
                fin: first & FIN != 0,
                reserved: first & 0x70,
                opcode: first & 15,
                masks: second & 0x80 != 0,
                len: short,
            };
            let control = header.opcode >= 8;

            // The first two bytes.
            if !matches!(header.opcode, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG) {
                return Err(PROTOCOL);
            }
            if control && !self.has(ControlCheckedWhole) {
                if !header.fin || wide != 0 {
                    return Err(PROTOCOL);
                }
                if header.opcode == CLOSE && short == 1 && !self.has(CloseOfOneByteCheckedWhole) {
                    return Err(PROTOCOL);
                }
            }
            let late_bits = self.has(ReservedAndMaskBehindLength);
            if !late_bits && !self.has(ReservedCheckedWhole) {
                self.check_reserved(&header)?;
            }
            if !late_bits {
                self.check_mask(&header)?;
            }
            if !self.has(SequenceCheckedAtPayload) && !self.has(SequenceCheckedWhole) {
                self.check_sequence(&header)?;
            }
            if !control && !self.has(FragmentsCheckedWhole) && !self.has(NoFragmentLimit) {
                self.check_fragments()?;
            }

            // The length.
            let Some(bytes) = tail.get(..wide) else { return Ok(()) };
            if wide != 0 {
                header.len = bytes.iter().fold(0, |len, &byte| len << 8 | u64::from(byte));
                let minimal = if wide == 2 { 126 } else { 65_536 };
                if header.len < minimal && !self.has(LongLengthFormAccepted) {
                    return Err(PROTOCOL);
                }
                if header.len >> 63 != 0 && !self.has(TopLengthBitIsSize) {
                    return Err(PROTOCOL);
                }
            }
            if late_bits {
                self.check_reserved(&header)?;
                self.check_mask(&header)?;
            }
            self.check_limit(&header)?;
            let tail = &tail[wide..];
            let (key, tail) = match (header.masks, tail.split_first_chunk::<4>()) {
                (false, _) => (None, tail),
                (true, Some((key, tail))) => (Some(*key), tail),
                (true, None) => return Ok(()),
            };

            // The payload.
            let here = tail.len().min(usize::try_from(header.len).unwrap_or(usize::MAX));
            let whole = here as u64 == header.len;
            let mut payload = masked(&tail[..here], key);
            rest = &tail[here..];
            if self.has(SequenceCheckedAtPayload) && !control && self.check_sequence(&header).is_err() {
                // What is checked is the first piece of it that was read.
                let from = case.bytes.len() - tail.len();
                let next = case.cuts.iter().find(|&&cut| cut > from).map_or(here, |cut| cut - from);
                payload.truncate(next);
            }
            if control {
                if !whole {
                    return Ok(());
                }
                self.check_whole(&header, payload.len())?;
                self.control(header.opcode, &payload)?;
                if let Some(message) = self.message.as_mut().filter(|_| self.deviations.has(ControlEndsCompression)) {
                    message.forgotten = true;
                }
            } else {
                self.data(&header, payload, whole)?;
                if !whole {
                    return Ok(());
                }
            }
        }
    }

    /// RSV1 has a meaning on the first frame of a message where compression was agreed upon; nothing else has.
    fn check_reserved(&self, header: &Header) -> Result<(), End> {
        let may_be_compressed = self.case.deflate.is_some() && matches!(header.opcode, TEXT | BINARY);
        let meaning = if may_be_compressed { RSV1 } else { 0 };
        if header.reserved & !meaning != 0 { Err(PROTOCOL) } else { Ok(()) }
    }

    fn check_mask(&self, header: &Header) -> Result<(), End> {
        if header.masks != (self.case.role == Role::Server) { Err(PROTOCOL) } else { Ok(()) }
    }

    fn check_sequence(&self, header: &Header) -> Result<(), End> {
        let continues = header.opcode == CONTINUATION;
        if header.opcode < 8 && continues != self.message.is_some() { Err(PROTOCOL) } else { Ok(()) }
    }

    fn check_fragments(&self) -> Result<(), End> {
        let fragments = self.message.as_ref().map_or(0, |message| message.fragments);
        if fragments >= self.case.fragments { Err(POLICY) } else { Ok(()) }
    }

    fn check_limit(&self, header: &Header) -> Result<(), End> {
        use Deviation::*;
        let announced = self.message.as_ref().map_or(0, |message| match self.has(LimitLessWhatIsMade) {
            true => message.payload.len() as u64,
            false => message.announced,
        });
        let before = if self.has(TotalCheckedWhole) { 0 } else { announced };
        let counts = header.opcode < 8 || self.has(LimitCountsControls);
        if counts && !self.has(NoMessageLimit) && header.len > self.case.limit.saturating_sub(before) {
            return Err(TOO_BIG);
        }
        Ok(())
    }

    /// What some check only once a frame is whole.
    fn check_whole(&self, header: &Header, len: usize) -> Result<(), End> {
        use Deviation::*;
        if self.has(ReservedCheckedWhole) {
            self.check_reserved(header)?;
        }
        if self.has(ControlCheckedWhole) && header.opcode >= 8 && (len > 125 || !header.fin) {
            return Err(PROTOCOL);
        }
        if self.has(SequenceCheckedWhole) {
            self.check_sequence(header)?;
        }
        Ok(())
    }

    fn control(&mut self, opcode: u8, payload: &[u8]) -> Result<(), End> {
        use Deviation::*;
        match opcode {
            PING => self.outcome.event('i', payload),
            PONG => self.outcome.event('o', payload),
            _ => {
                let (code, reason) = match payload {
                    [] => (1005, &[][..]),
                    [_] => return Err(PROTOCOL),
                    [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
                };
                let valid = match code {
                    1000..=1003 | 1007..=1013 | 3000..=4999 => true,
                    1014 => !self.has(Code1014Refused),
                    _ => payload.is_empty(),
                };
                let utf8 = std::str::from_utf8(reason).is_ok();
                if !utf8 && (valid || self.has(CloseReasonBeforeCode)) {
                    return Err(NOT_UTF8);
                }
                if !valid || self.message.is_some() && self.has(CloseInsideMessageRefused) {
                    return Err(PROTOCOL);
                }
                let echo = if code == 1005 { 0 } else { code };
                let reason = if reason.is_empty() { "=".into() } else { digest(reason) };
                return Err(End::Peer { code, reason, echo: Some(echo) });
            }
        }
        Ok(())
    }

    fn data(&mut self, header: &Header, payload: Vec<u8>, whole: bool) -> Result<(), End> {
        use Deviation::*;
        let late_text = self.has(TextCheckedWhole);
        let ends = header.fin && whole;
        // A frame that is checked for its place only later may not belong to what is open.
        let opcode = self.message.as_ref().map_or(header.opcode, |message| message.opcode);
        if let Some(message) = self.message.as_mut().filter(|message| message.forgotten) {
            message.forgotten = false;
            message.compressed = header.reserved & RSV1 != 0;
        }
        let compressed = match &self.message {
            Some(message) if header.opcode == CONTINUATION || !self.has(SequenceCheckedWhole) => message.compressed,
            _ => header.reserved & RSV1 != 0,
        };
        let here = payload.len();
        if compressed
            && whole
            && header.reserved & RSV1 != 0
            && self.has(SequenceCheckedWhole)
            && self.message.is_some()
        {
            return Err(PROTOCOL);
        }
        let (mut payload, corrupt) = match compressed {
            true => self.decompress(payload, ends, whole),
            false => (payload, None),
        };
        if compressed && !ends && corrupt.is_none() && self.has(LimitLessWhatIsMade) {
            self.hold_back(&mut payload);
        }
        if self.has(SequenceCheckedAtPayload) && (here > 0 || whole) {
            if corrupt.is_none() {
                self.check_sequence(header)?;
            }
        }
        if let Some(corrupt) = corrupt.as_ref().filter(|_| self.has(CorruptBeforeLimit) && !self.stream.corrupt_in_tail)
        {
            return Err(corrupt.clone());
        }
        let skips = self.has(EmptyLastFragmentSkipsText);
        if opcode == TEXT && !late_text && !(skips && header.len == 0) {
            if self.message.is_none() && !skips {
                self.text = Utf8::default();
            }
            // As far as one byte over the limit: nothing behind it is made.
            let before = self.message.as_ref().map_or(0, |message| message.payload.len() as u64);
            let room = self.case.limit.saturating_sub(before).saturating_add(1);
            let cut = compressed && !self.has(NoMessageLimit) && room < payload.len() as u64;
            let looked_at = if cut { &payload[..room as usize] } else { &payload[..] };
            self.text.feed(looked_at, ends && !cut && corrupt.is_none(), self.deviations.has(SurrogateWaits))?;
        }
        let has_open = self.message.is_some();
        let waiting =
            || Message { opcode, fragments: 0, announced: 0, payload: Vec::new(), compressed, forgotten: false };
        let message = self.message.get_or_insert_with(waiting);
        if compressed && !self.deviations.has(NoMessageLimit) {
            let made = (message.payload.len() + payload.len()) as u64;
            let none_left = self.deviations.has(LimitLessWhatIsMade) && message.payload.len() as u64 == self.case.limit;
            if made > self.case.limit && !none_left {
                return Err(TOO_BIG);
            }
        }
        if let Some(corrupt) = corrupt {
            return Err(corrupt);
        }
        if !whole {
            return Ok(());
        }
        if !has_open {
            // Its place is checked as if it were not there.
            let message = self.message.take();
            self.check_whole(header, payload.len())?;
            self.message = message;
        } else {
            self.check_whole(header, payload.len())?;
        }
        let message = self.message.get_or_insert_with(waiting);
        message.announced += header.len;
        message.fragments += 1;
        message.payload.extend(payload);
        let (total, fragments) = (message.payload.len() as u64, message.fragments);
        if self.has(TotalCheckedWhole) && has_open && total > self.case.limit {
            // No Close frame goes out.
            return Err(End::Failed(None));
        }
        if self.has(FragmentsCheckedWhole) && fragments > self.case.fragments {
            return Err(POLICY);
        }
        if ends && let Some(message) = self.message.take() {
            if message.opcode == TEXT && late_text && std::str::from_utf8(&message.payload).is_err() {
                return Err(NOT_UTF8);
            }
            self.outcome.event(if message.opcode == TEXT { 't' } else { 'b' }, &message.payload);
        }
        Ok(())
    }

    /// What the next bytes of a compressed message come to, and how it fails behind them.
    fn decompress(&mut self, payload: Vec<u8>, ends: bool, whole: bool) -> (Vec<u8>, Option<End>) {
        use Deviation::*;
        let (no_takeover, bits) = self.case.deflate.map_or((false, 15), |agreed| agreed.of_peer(self.case.role));
        if self.has(DecompressedWhole) && !whole {
            return (Vec::new(), None);
        }
        let frame = payload.len();
        let mut bytes = payload;
        if self.has(SmallCompressedWaits) && (no_takeover || self.contexts == 0) {
            let most = 1024.min(self.case.limit / 1032);
            let announced = self.message.as_ref().map_or(0, |message| message.announced) as usize;
            if !ends && (announced + bytes.len()) as u64 <= most {
                // It is looked at with what comes next.
                self.waiting.extend(bytes);
                return (Vec::new(), None);
            }
            bytes.splice(0..0, std::mem::take(&mut self.waiting));
        }
        if self.stream.broken && (whole || !bytes.is_empty()) {
            return (Vec::new(), Some(NOT_UTF8));
        }
        if std::mem::take(&mut self.stream.passes_next) {
            self.contexts += usize::from(ends);
            return (Vec::new(), None);
        }
        let window = if self.has(WindowNotHeld) { 1 << 15 } else { 1 << bits };
        let corrupt = if self.has(CorruptIs1002) { PROTOCOL } else { NOT_UTF8 };
        let before = self.message.as_ref().map_or(0, |message| message.payload.len());
        // To zlib in Python a limit of 0 is none.
        let none_left = self.has(LimitLessWhatIsMade) && before as u64 == self.case.limit;
        let most = match self.has(NoMessageLimit) || self.has(CorruptBeforeLimit) || none_left {
            true => usize::MAX,
            false => (self.case.limit as usize + 2).saturating_sub(before),
        };
        let (mut made, mut good) = self.inflate(&bytes, window, most);
        // Where the rest of the frame is passed over, the four bytes behind it are, too; and so is the next frame of the message.
        let just_ended = std::mem::take(&mut self.stream.just_ended);
        let passed_over = self.has(FrameEndsWithLastBlock) && just_ended;
        self.stream.passes_next = passed_over && !ends;
        if good && ends && made.len() < most && !passed_over {
            let is_empty = self.stream.bytes.len() == self.stream.from;
            if !is_empty || self.has(EmptyPayloadGetsTail) {
                let (tail, tail_good) = self.inflate(&[0, 0, 0xff, 0xff], window, most - made.len());
                good = tail_good;
                self.stream.corrupt_in_tail = !tail_good;
                if !self.has(MessageEndNotChecked) {
                    good &= tail.is_empty() && self.stream.at_boundary;
                }
                if self.has(LongEndIsTooBig) && frame >= 2044 && !tail.is_empty() {
                    return (made, Some(TOO_BIG));
                }
                made.extend(tail);
            }
            self.stream.from = self.stream.bytes.len();
            self.contexts += 1;
            self.stream.broken = self.stream.dead && self.has(BrokenBehindLastBlock);
            if no_takeover {
                self.stream = Stream::default();
            }
        }
        (made, (!good).then_some(corrupt))
    }

    /// Where the input is used up just as the limit is reached, it is not seen that more was to come: it comes with the next frame.
    fn hold_back(&mut self, payload: &mut Vec<u8>) {
        let before = self.message.as_ref().map_or(0, |message| message.payload.len());
        let room = (self.case.limit as usize).saturating_sub(before);
        let Some(over) = payload.len().checked_sub(room).filter(|&over| over > 0) else { return };
        let all_but_one = &self.stream.bytes[..self.stream.bytes.len() - 1];
        let limit = self.stream.made - over;
        if inflate(all_but_one, 1 << 15, limit + 1).made.len() <= limit {
            payload.truncate(room);
            self.stream.made = limit;
        }
    }

    /// Goes on with the stream, and says whether it is one.
    fn inflate(&mut self, bytes: &[u8], window: usize, most: usize) -> (Vec<u8>, bool) {
        use Deviation::*;
        let mut all = Vec::new();
        let mut rest = bytes.to_vec();
        loop {
            if self.stream.dead {
                return (all, true);
            }
            self.stream.bytes.append(&mut rest);
            let run = inflate(&self.stream.bytes, window, self.stream.made.saturating_add(most - all.len()));
            all.extend(&run.made[self.stream.made..]);
            self.stream.made = run.made.len();
            match run.state {
                State::Boundary | State::Inside => {
                    self.stream.at_boundary = run.state == State::Boundary;
                    return (all, true);
                }
                State::Corrupt | State::BeyondWindow => return (all, false),
                State::Ended { taken } => {
                    rest = self.stream.bytes.split_off(taken);
                    let has_rest = !rest.is_empty();
                    let dead = self.has(DeafBehindLastBlock) || self.has(BrokenBehindLastBlock);
                    self.stream = Stream { dead, just_ended: true, ..Stream::default() };
                    if self.has(FrameEndsWithLastBlock) || !has_rest {
                        return (all, true);
                    }
                }
            }
        }
    }
}

/// Text as it arrives: fails at the first byte that no continuation can mend.
#[derive(Default)]
struct Utf8 {
    /// The beginning of a character.
    begun: Vec<u8>,
}

impl Utf8 {
    fn feed(&mut self, bytes: &[u8], last: bool, surrogate_waits: bool) -> Result<(), End> {
        let mut text = std::mem::take(&mut self.begun);
        text.extend(bytes);
        match std::str::from_utf8(&text) {
            Ok(_) => Ok(()),
            Err(error) => {
                let begun = text.split_off(error.valid_up_to());
                let waits = error.error_len().is_none() || surrogate_waits && matches!(begun[..], [0xed, 0xa0..=0xbf]);
                self.begun = begun;
                if waits && !last { Ok(()) } else { Err(NOT_UTF8) }
            }
        }
    }
}
