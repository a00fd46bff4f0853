//! Where other implementations differ, as named changes of one rule each, with the sentence that decides.

/// A rule that an implementation reads otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Deviation {
    ControlCheckedWhole,
    CloseOfOneByteCheckedWhole,
    ReservedAndMaskBehindLength,
    ReservedCheckedWhole,
    SequenceCheckedAtPayload,
    SequenceCheckedWhole,
    LongLengthFormAccepted,
    TopLengthBitIsSize,
    TextCheckedWhole,
    EmptyLastFragmentSkipsText,
    SurrogateWaits,
    Code1014Refused,
    CloseReasonBeforeCode,
    CloseInsideMessageRefused,
    NoMessageLimit,
    LimitCountsControls,
    TotalCheckedWhole,
    NoFragmentLimit,
    FragmentsCheckedWhole,
    SmallCompressedWaits,
    DecompressedWhole,
    CorruptIs1002,
    CorruptBeforeLimit,
    DeafBehindLastBlock,
    BrokenBehindLastBlock,
    FrameEndsWithLastBlock,
    MessageEndNotChecked,
    LongEndIsTooBig,
    EmptyPayloadGetsTail,
    ControlEndsCompression,
    LimitLessWhatIsMade,
    WindowNotHeld,
}

impl Deviation {
    /// The name of its class, as in `EXPECTED.md`.
    pub fn name(self) -> &'static str {
        ALL.iter().find(|listed| listed.deviation == self).map_or("not listed", |listed| listed.name)
    }
}

/// A set of deviations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deviations(u64);

impl Deviations {
    pub const NONE: Self = Self(0);

    pub const fn new(of: &[Deviation]) -> Self {
        let (mut bits, mut i) = (0, 0);
        while i < of.len() {
            bits |= 1 << of[i] as u64;
            i += 1;
        }
        Self(bits)
    }

    pub fn has(self, one: Deviation) -> bool {
        self.0 & 1 << one as u64 != 0
    }

    pub fn with(self, one: Deviation) -> Self {
        Self(self.0 | 1 << one as u64)
    }

    pub fn without(self, one: Deviation) -> Self {
        Self(self.0 & !(1 << one as u64))
    }

    /// Those whose names stand in the list that is written to `EXPECTED.md`.
    pub fn iter(self) -> impl Iterator<Item = Deviation> {
        ALL.iter().map(|listed| listed.deviation).filter(move |&one| self.has(one))
    }
}

/// Who is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// tautline does what the sentence says, the other does not.
    Tautline,
    /// The sentence leaves it open.
    Both,
}

/// A deviation with its reasons.
pub struct Listed {
    pub deviation: Deviation,
    pub name: &'static str,
    /// What the other does.
    pub does: &'static str,
    /// Where the rule stands.
    pub section: &'static str,
    /// The words that decide.
    pub words: &'static str,
    pub right: Right,
}

pub const ALL: [Listed; 32] = [
    Listed {
        deviation: Deviation::ControlCheckedWhole,
        name: "control-checked-whole",
        does: "checks FIN and the length of a control frame when its payload is in, so it waits where tautline has failed, and other \
               rules may speak first",
        section: "RFC 6455, 5.5",
        words: "All control frames MUST have a payload length of 125 bytes or less and MUST NOT be fragmented.",
        right: Right::Both,
    },
    Listed {
        deviation: Deviation::CloseOfOneByteCheckedWhole,
        name: "close-of-one-byte-checked-whole",
        does: "fails a Close frame of one byte when mask and payload are in, not at the length",
        section: "RFC 6455, 5.5.1",
        words: "If there is a body, the first two bytes of the body MUST be a 2-byte unsigned integer",
        right: Right::Both,
    },
    Listed {
        deviation: Deviation::ReservedAndMaskBehindLength,
        name: "reserved-and-mask-behind-length",
        does: "checks reserved bits and the mask bit when the extended length is in",
        section: "RFC 6455, 5.1 and 5.2",
        words: "The server MUST close the connection upon receiving a frame that is not masked.",
        right: Right::Both,
    },
    Listed {
        deviation: Deviation::ReservedCheckedWhole,
        name: "reserved-checked-whole",
        does: "checks reserved bits when the payload is in",
        section: "RFC 6455, 5.2",
        words: "If a nonzero value is received and none of the negotiated extensions defines the meaning of such a nonzero value, the \
                receiving endpoint MUST _Fail the WebSocket Connection_.",
        right: Right::Both,
    },
    Listed {
        deviation: Deviation::SequenceCheckedAtPayload,
        name: "sequence-checked-at-payload",
        does: "checks that a continuation continues something (and that nothing else comes inside a message) at the first byte of \
               payload, not at the header",
        section: "RFC 6455, 5.4",
        words: "The fragments of one message MUST NOT be interleaved between the fragments of another message unless an extension has \
                been negotiated that can interpret the interleaving.",
        right: Right::Both,
    },
    Listed {
        deviation: Deviation::SequenceCheckedWhole,
        name: "sequence-checked-whole",
        does: "checks that a continuation continues something (and that nothing else comes inside a message) when the payload is in; \
               the limit may speak first",
        section: "RFC 6455, 5.4",
        words: "The fragments of one message MUST NOT be interleaved between the fragments of another message unless an extension has \
                been negotiated that can interpret the interleaving.",
        right: Right::Both,
    },
    Listed {
        deviation: Deviation::LongLengthFormAccepted,
        name: "long-length-form-accepted",
        does: "accepts a payload length in more bytes than it needs",
        section: "RFC 6455, 5.2",
        words: "Note that in all cases, the minimal number of bytes MUST be used to encode the length",
        right: Right::Tautline,
    },
    Listed {
        deviation: Deviation::TopLengthBitIsSize,
        name: "top-length-bit-is-size",
        does: "takes a 64-bit length with its top bit set for a length, and closes with 1009",
        section: "RFC 6455, 5.2",
        words: "the following 8 bytes interpreted as a 64-bit unsigned integer (the most significant bit MUST be 0)",
        right: Right::Tautline,
    },
    Listed {
        deviation: Deviation::TextCheckedWhole,
        name: "text-checked-whole",
        does: "checks UTF-8 when the message is whole: control frames in between are still reported, another rule may be broken first, and \
               the rest of the message is waited for",
        section: "RFC 6455, 8.1",
        words: "When an endpoint is to interpret a byte stream as UTF-8 but finds that the byte stream is not, in fact, a valid UTF-8 \
                stream, that endpoint MUST _Fail the WebSocket Connection_.",
        right: Right::Both,
    },
    Listed {
        deviation: Deviation::EmptyLastFragmentSkipsText,
        name: "empty-last-fragment-skips-text",
        does: "does not look at the text when the last fragment is empty: a message that ends inside a character is delivered, and what is \
               left of the character is held against the next text",
        section: "RFC 6455, 5.6",
        words: "Note that a particular text frame might include a partial UTF-8 sequence; however, the whole message MUST contain valid \
                UTF-8.",
        right: Right::Tautline,
    },
    Listed {
        deviation: Deviation::SurrogateWaits,
        name: "surrogate-waits",
        does: "waits for a third byte behind ED A0 to ED BF, which no third byte makes a character (CPython's incremental decoder)",
        section: "RFC 3629, 3",
        words: "The definition of UTF-8 prohibits encoding character numbers between U+D800 and U+DFFF",
        right: Right::Both,
    },
    Listed {
        deviation: Deviation::Code1014Refused,
        name: "code-1014-refused",
        does: "refuses close code 1014 (Bad Gateway), which the IANA registry has",
        section: "RFC 6455, 11.7",
        words: "This specification creates a new IANA registry for WebSocket Connection Close Codes",
        right: Right::Tautline,
    },
    Listed {
        deviation: Deviation::CloseReasonBeforeCode,
        name: "close-reason-before-code",
        does: "looks at the reason before the code: where both are bad the answer is 1007, not 1002",
        section: "RFC 6455, 7.4.1 and 8.1",
        words: "1007 indicates that an endpoint is terminating the connection because it has received data within a message that was not \
                consistent with the type of the message",
        right: Right::Both,
    },
    Listed {
        deviation: Deviation::CloseInsideMessageRefused,
        name: "close-inside-message-refused",
        does: "answers a Close frame between the fragments of a message with 1002, not with its code",
        section: "RFC 6455, 5.4",
        words: "Control frames (see Section 5.5) MAY be injected in the middle of a fragmented message.",
        right: Right::Tautline,
    },
    Listed {
        deviation: Deviation::NoMessageLimit,
        name: "no-message-limit",
        does: "has no limit on the length of a message",
        section: "RFC 6455, 10.4",
        words: "Implementations that have implementation- and/or platform-specific limitations regarding the frame size or total message \
                size after reassembly from multiple frames MUST protect themselves against exceeding those limits.",
        right: Right::Both,
    },
    Listed {
        deviation: Deviation::LimitCountsControls,
        name: "limit-counts-controls",
        does: "holds control frames against the limit on messages, too",
        section: "RFC 6455, 10.4",
        words: "limitations regarding the frame size or total message size after reassembly from multiple frames",
        right: Right::Tautline,
    },
    Listed {
        deviation: Deviation::TotalCheckedWhole,
        name: "total-checked-whole",
        does: "looks at the sum of the fragments when one is in, and goes over it with an error but no Close frame",
        section: "RFC 6455, 7.1.7",
        words: "If _The WebSocket Connection is Established_ prior to the point where the endpoint is required to _Fail the WebSocket \
                Connection_, the endpoint SHOULD send a Close frame with an appropriate status code",
        right: Right::Tautline,
    },
    Listed {
        deviation: Deviation::NoFragmentLimit,
        name: "no-fragment-limit",
        does: "has no limit on the number of fragments",
        section: "RFC 6455, 7.4.1",
        words: "1008 indicates that an endpoint is terminating the connection because it has received a message that violates its policy.",
        right: Right::Both,
    },
    Listed {
        deviation: Deviation::FragmentsCheckedWhole,
        name: "fragments-checked-whole",
        does: "counts a fragment against the limit when its payload is in, so it waits where tautline has failed, and the limit on bytes \
               may speak first",
        section: "RFC 6455, 7.4.1",
        words: "1008 indicates that an endpoint is terminating the connection because it has received a message that violates its policy.",
        right: Right::Both,
    },
    Listed {
        deviation: Deviation::SmallCompressedWaits,
        name: "small-compressed-waits",
        does: "keeps the first bytes of a compressed message (at most 1,024, and never so many that they could come to more than the limit) \
               until there are more or the message is whole: what is wrong with them shows then",
        section: "RFC 7692, 7.2.2",
        words: "Append 4 octets of 0x00 0x00 0xff 0xff to the tail end of the payload of the message. Decompress the resulting data using \
                DEFLATE.",
        right: Right::Both,
    },
    Listed {
        deviation: Deviation::DecompressedWhole,
        name: "decompressed-whole",
        does: "decompresses a frame when all of it is in",
        section: "RFC 7692, 7.2.2",
        words: "Append 4 octets of 0x00 0x00 0xff 0xff to the tail end of the payload of the message. Decompress the resulting data using \
                DEFLATE.",
        right: Right::Both,
    },
    Listed {
        deviation: Deviation::CorruptIs1002,
        name: "corrupt-is-1002",
        does: "closes with 1002 where a message is no DEFLATE stream",
        section: "RFC 6455, 7.4.1",
        words: "1007 indicates that an endpoint is terminating the connection because it has received data within a message that was not \
                consistent with the type of the message",
        right: Right::Both,
    },
    Listed {
        deviation: Deviation::CorruptBeforeLimit,
        name: "corrupt-before-limit",
        does: "finds the corrupt bytes of a frame before it looks at how much was made of those before them: 1007, where tautline stopped at \
               the limit with 1009",
        section: "RFC 6455, 10.4",
        words: "limitations regarding the frame size or total message size after reassembly from multiple frames",
        right: Right::Both,
    },
    Listed {
        deviation: Deviation::DeafBehindLastBlock,
        name: "deaf-behind-last-block",
        does: "takes nothing more behind a block with BFINAL: the rest of the message, and with context takeover every compressed message after \
               it, comes to nothing",
        section: "RFC 7692, 7.2.3.4",
        words: "implementors can choose to flush data using DEFLATE blocks with \"BFINAL\" set to 1",
        right: Right::Tautline,
    },
    Listed {
        deviation: Deviation::BrokenBehindLastBlock,
        name: "broken-behind-last-block",
        does: "takes nothing more of a message behind a block with BFINAL, and with context takeover fails at the next compressed message",
        section: "RFC 7692, 7.2.3.4",
        words: "implementors can choose to flush data using DEFLATE blocks with \"BFINAL\" set to 1",
        right: Right::Tautline,
    },
    Listed {
        deviation: Deviation::FrameEndsWithLastBlock,
        name: "frame-ends-with-last-block",
        does: "passes over the rest of a frame behind a block with BFINAL, and the next frame, too, where that was not the message's last",
        section: "RFC 7692, 7.2.3.4",
        words: "implementors can choose to flush data using DEFLATE blocks with \"BFINAL\" set to 1",
        right: Right::Tautline,
    },
    Listed {
        deviation: Deviation::MessageEndNotChecked,
        name: "message-end-not-checked",
        does: "delivers what a message comes to that breaks off inside a block, with what the four bytes put back behind it come to; with \
               context takeover the next message goes on inside that block",
        section: "RFC 7692, 7.2.1",
        words: "If the resulting data does not end with an empty DEFLATE block with no compression (the \"BTYPE\" bits are set to 00), append \
                an empty DEFLATE block with no compression to the tail end.",
        right: Right::Tautline,
    },
    Listed {
        deviation: Deviation::LongEndIsTooBig,
        name: "long-end-is-too-big",
        does: "where a message breaks off inside a block and its last frame has 2,044 bytes or more: takes what the four bytes come to for what \
               goes over the limit, and closes with 1009",
        section: "RFC 6455, 7.4.1",
        words: "1009 indicates that an endpoint is terminating the connection because it has received a message that is too big for it to \
                process.",
        right: Right::Tautline,
    },
    Listed {
        deviation: Deviation::EmptyPayloadGetsTail,
        name: "empty-payload-gets-tail",
        does: "puts the four bytes behind an empty payload, too, where they are no whole block: with context takeover the next message is broken",
        section: "RFC 7692, 7.2.3.6",
        words: "a DEFLATE block with no compression",
        right: Right::Both,
    },
    Listed {
        deviation: Deviation::ControlEndsCompression,
        name: "control-ends-compression",
        does: "takes the fragments behind a control frame for uncompressed",
        section: "RFC 7692, 6",
        words: "MUST NOT set the \"Per-Message Compressed\" bit of control frames and non-first fragments of a data message",
        right: Right::Tautline,
    },
    Listed {
        deviation: Deviation::LimitLessWhatIsMade,
        name: "limit-less-what-is-made",
        does: "holds the compressed length of a fragment against the limit less what those before it were decompressed to, and sees only with the \
               next fragment that one goes over the limit with its last byte",
        section: "RFC 6455, 10.4",
        words: "limitations regarding the frame size or total message size after reassembly from multiple frames",
        right: Right::Both,
    },
    Listed {
        deviation: Deviation::WindowNotHeld,
        name: "window-not-held",
        does: "decompresses a reference that goes further back than the agreed window, where what it refers to happens to be in memory still",
        section: "RFC 7692, 7.1.2",
        words: "the LZ77 sliding window size",
        right: Right::Both,
    },
];

/// An implementation to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Wsproto,
    TokioWebsockets,
    Ws,
    Websockets,
}

/// In what tautline itself differs from the model.
pub const OURS: Deviations = Deviations::new(&[Deviation::SmallCompressedWaits, Deviation::WindowNotHeld]);

/// What may be or not, by how much is decompressed at a time: an outcome with it is as good as one without.
pub const MAYBE: Deviation = Deviation::WindowNotHeld;

impl Peer {
    pub const ALL: [Self; 4] = [Self::Wsproto, Self::TokioWebsockets, Self::Ws, Self::Websockets];

    pub fn name(self) -> &'static str {
        match self {
            Self::Wsproto => "wsproto",
            Self::TokioWebsockets => "tokio-websockets",
            Self::Ws => "ws",
            Self::Websockets => "websockets",
        }
    }

    /// Everything in which it differs.
    pub const fn deviations(self) -> Deviations {
        use Deviation::*;
        match self {
            Self::Wsproto => Deviations::new(&[
                CloseOfOneByteCheckedWhole,
                ReservedAndMaskBehindLength,
                SequenceCheckedAtPayload,
                SurrogateWaits,
                Code1014Refused,
                NoMessageLimit,
                NoFragmentLimit,
                BrokenBehindLastBlock,
                MessageEndNotChecked,
                EmptyPayloadGetsTail,
                ControlEndsCompression,
            ]),
            Self::TokioWebsockets => Deviations::new(&[
                TopLengthBitIsSize,
                EmptyLastFragmentSkipsText,
                LimitCountsControls,
                TotalCheckedWhole,
                NoFragmentLimit,
            ]),
            Self::Ws => Deviations::new(&[
                LongLengthFormAccepted,
                TopLengthBitIsSize,
                TextCheckedWhole,
                FragmentsCheckedWhole,
                DecompressedWhole,
                CorruptBeforeLimit,
                FrameEndsWithLastBlock,
                MessageEndNotChecked,
                EmptyPayloadGetsTail,
            ]),
            Self::Websockets => Deviations::new(&[
                ControlCheckedWhole,
                ReservedCheckedWhole,
                SequenceCheckedWhole,
                LongLengthFormAccepted,
                TopLengthBitIsSize,
                TextCheckedWhole,
                CloseReasonBeforeCode,
                CloseInsideMessageRefused,
                LimitCountsControls,
                NoFragmentLimit,
                DecompressedWhole,
                CorruptIs1002,
                DeafBehindLastBlock,
                MessageEndNotChecked,
                EmptyPayloadGetsTail,
                LimitLessWhatIsMade,
                LongEndIsTooBig,
            ]),
        }
    }
}

/// The text of `EXPECTED.md`.
pub fn expected() -> String {
    let mut text = HEAD.to_owned();
    for listed in &ALL {
        let deviates = |peer: &&Peer| {
            peer.deviations().has(listed.deviation) || listed.deviation == MAYBE && **peer != Peer::TokioWebsockets
        };
        let mut peers: Vec<&str> = Peer::ALL.iter().filter(deviates).map(|peer| peer.name()).collect();
        if OURS.has(listed.deviation) {
            peers.push("tautline");
        }
        let right = match listed.right {
            Right::Tautline => "tautline",
            Right::Both => "both may",
        };
        let Listed { name, does, section, words, .. } = listed;
        text.push_str(&format!("| `{name}` | {} | {does} | {section}: \"{words}\" | {right} |\n", peers.join(", ")));
    }
    text
}

const HEAD: &str = "\
# Expected differences

Where other implementations read a rule otherwise than tautline. Each class is one switch in `rust/src/model.rs`, which is written from the
RFCs alone: tautline must say exactly what the model says, and each of the others exactly what the model says with its own classes
switched on. So a class explains nothing but itself.

This file is written by `run --expected` from `rust/src/deviations.rs`; a run fails where the two differ. Outcomes are compared as: messages,
pings and pongs in their order with their payloads, then the end: open, closed by the peer (code, reason, and the code of the answer
where an implementation writes one), or failed (the code of the Close frame, if one was written).

| Class | Whose | What it does | The sentence that decides | Who is right |
|---|---|---|---|---|
";
