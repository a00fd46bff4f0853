//! DEFLATE (RFC 1951) as permessage-deflate uses it (RFC 7692 section 7.2): messages that end at a byte, behind an empty block of which
//! four bytes are not sent. For `ws` alone; pools of its state are lent with [`Input`](crate::Input) and [`Output`](crate::Output).
//!
//! The coding is `zlib-rs`'s. What stands here is what a protocol needs around it:
//!
//! | file | what is there |
//! |---|---|
//! | `inflater` | a decompressor that knows whether a message ended where it had to |
//! | `distance` | a scanner that holds references to a window that is smaller than an inflater's |
//! | `deflater` | a compressor, and the pool of a thread's compressors |

mod deflater;
mod distance;
mod inflater;

pub(crate) use deflater::{Deflater, Deflaters, Setting};
pub(crate) use inflater::{InflateError, Inflated, Inflater};

/// What ends a flushed stream: length and complement of an empty stored block. It is cut off each message and put back by the receiver
/// (RFC 7692 sections 7.2.1 and 7.2.2).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// The window that every decompressor has, in bits: what is agreed upon may be less. It costs the same.
const WINDOW: u8 = 15;
