//! Payloads where they lie: unmasking, the check of text, and bytes that become `str`. For `ws` and `sse`; nothing here is public but
//! through them.
//!
//! | file | what is there |
//! |---|---|
//! | `mask` | masking and unmasking in safe code |
//! | `utf8` | UTF-8 checked as it arrives, in safe code |
//! | `leaf` | the one file with unsafe code: what was just proved to be UTF-8 becomes `str`, and long payloads and lines go through AVX2 |
//! | `check` | how its vectors of text are checked, in safe code |
//! | `tables` | what that looks up |

#[cfg(target_arch = "x86_64")]
mod check;
mod leaf;
mod mask;
#[cfg(target_arch = "x86_64")]
mod tables;
#[cfg(test)]
mod tests;
mod utf8;

#[cfg(feature = "deflate")]
pub(crate) use leaf::Check;
pub(crate) use leaf::{
    Assembly, Gathered, Unchecked, ascii, first_control, line_end, unmask_binary, unmask_piece, unmask_text,
};
#[cfg(feature = "net")]
pub(crate) use leaf::{WIDE, unmask_binary_to_front, unmask_text_to_front, unmask_wide_binary, unmask_wide_text};
pub use mask::apply_mask;
pub(crate) use mask::{Key, apply};
pub(crate) use utf8::Utf8;
