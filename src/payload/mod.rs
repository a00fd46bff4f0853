//! Payloads where they lie: unmasking, the check of text, and bytes that become `str`. For `ws` and `sse`; nothing here is public but
//! through them.
//!
//! | file | what is there |
//! |---|---|
//! | `mask` | masking and unmasking in safe code |
//! | `utf8` | UTF-8 checked as it arrives, in safe code |
//! | `leaf` | the one file with unsafe code: what was just proved to be UTF-8 becomes `str`, and long payloads go through AVX2 |

mod leaf;
mod mask;
#[cfg(test)]
mod tests;
mod utf8;

pub(crate) use leaf::{Assembly, Gathered, Unchecked, ascii, line_end, unmask_binary, unmask_piece, unmask_text};
pub use mask::apply_mask;
pub(crate) use mask::{Key, apply};
pub(crate) use utf8::Utf8;
