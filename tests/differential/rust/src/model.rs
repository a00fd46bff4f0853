//! What a case must come to, written from the RFCs alone: whole streams, copies, no state between calls.
//!
//! With no deviation it says what tautline does. Each [`Deviation`] changes one rule, and an implementation is explained when its
//! outcome is exactly the model's under the deviations that are listed for it: there is no room for anything else.

use crate::case::{BINARY, CLOSE, CONTINUATION, Case, End, FIN, Outcome, PING, PONG, Role, TEXT, digest, masked};
use crate::deviations::{Deviation, Deviations};

/// What the rules make of `case`.
pub fn model(case: &Case, deviations: Deviations) -> Outcome {
    let mut model = Model { case, deviations, outcome: Outcome::default(), message: None, text: Utf8::default() };
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
}

/// A message that has begun.
struct Message {
    opcode: u8,
    fragments: u32,
    /// Payload bytes announced, and what was delivered of them.
    announced: u64,
    payload: Vec<u8>,
}

/// A header on its way through the rules.
struct Header {
    fin: bool,
    reserved: u8,
    opcode: u8,
    masks: bool,
    len: u64,
}

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
            let payload = masked(&tail[..here], key);
            rest = &tail[here..];
            if self.has(SequenceCheckedAtPayload) && (here > 0 || whole) {
                self.check_sequence(&header)?;
            }
            if control {
                if !whole {
                    return Ok(());
                }
                self.check_whole(&header, payload.len())?;
                self.control(header.opcode, &payload)?;
            } else {
                self.data(&header, payload, whole)?;
                if !whole {
                    return Ok(());
                }
            }
        }
    }

    /// Reserved bits have no meaning here.
    fn check_reserved(&self, header: &Header) -> Result<(), End> {
        if header.reserved != 0 { Err(PROTOCOL) } else { Ok(()) }
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
        let announced = self.message.as_ref().map_or(0, |message| message.announced);
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
        // A message that is checked for its place only later may not belong to what is open.
        let opcode = self.message.as_ref().map_or(header.opcode, |message| message.opcode);
        let ends = header.fin && whole;
        if opcode == TEXT && !late_text && !(self.has(EmptyLastFragmentSkipsText) && header.len == 0) {
            if self.message.is_none() && !self.has(EmptyLastFragmentSkipsText) {
                self.text = Utf8::default();
            }
            self.text.feed(&payload, ends, self.deviations.has(SurrogateWaits))?;
        }
        if !whole {
            return Ok(());
        }
        self.check_whole(header, payload.len())?;
        let has_open = self.message.is_some();
        let message = self.message.get_or_insert(Message { opcode, fragments: 0, announced: 0, payload: Vec::new() });
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
