//! The header fields of a head that was read (RFC 9110 section 5), where they lie.

use core::fmt;

/// The header fields of a head, in the order they came in.
///
/// Names are tokens and compare without regard to case. Values are without the white space around them and hold no control
/// character but tabs; they may hold bytes from 0x80 up, so they are bytes.
#[derive(Clone, Copy)]
pub struct Headers<'h> {
    pub(super) bytes: &'h [u8],
    pub(super) fields: &'h [Field],
}

impl<'h> Headers<'h> {
    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Name and value of each field.
    pub fn iter(&self) -> impl Iterator<Item = (&'h str, &'h [u8])> + use<'h> {
        self.raw().map(|(name, value)| (text(name), value))
    }

    /// As [`iter`](Self::iter), the name as bytes too, which saves looking at each once more.
    #[inline]
    pub fn raw(&self) -> impl Iterator<Item = (&'h [u8], &'h [u8])> + use<'h> {
        let bytes = self.bytes;
        self.fields.iter().map(move |field| (field.name(bytes), field.value(bytes)))
    }

    /// Each field, with name and value looked up only when they are asked for.
    #[inline]
    pub(crate) fn lazy(&self) -> impl Iterator<Item = Lazy<'h>> + use<'h> {
        let bytes = self.bytes;
        self.fields.iter().map(move |field| Lazy { bytes, field })
    }

    /// The value of the first field called `name`. O(fields).
    pub fn get(&self, name: &str) -> Option<&'h [u8]> {
        self.fields.iter().find(|field| field.is(self.bytes, name)).map(|field| field.value(self.bytes))
    }

    /// The values of all fields called `name`.
    pub fn all<'n>(&self, name: &'n str) -> impl Iterator<Item = &'h [u8]> + use<'h, 'n> {
        let bytes = self.bytes;
        self.fields.iter().filter(move |field| field.is(bytes, name)).map(move |field| field.value(bytes))
    }

    /// Whether `token` is a member of the comma-separated lists of all fields called `name`, without regard to case. O(head).
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .flat_map(|value| value.split(|b| *b == b','))
            .any(|member| member.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }
}

impl fmt::Debug for Headers<'_> {
    /// Names only: values hold credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

/// One header field and the head that it lies in. The length of its name rules out most of what it could be, and is at hand.
#[derive(Clone, Copy)]
pub(crate) struct Lazy<'h> {
    bytes: &'h [u8],
    field: &'h Field,
}

impl<'h> Lazy<'h> {
    #[inline(always)]
    pub(crate) fn name_len(&self) -> usize {
        self.field.name_len.into()
    }

    #[inline(always)]
    pub(crate) fn name(&self) -> &'h [u8] {
        self.field.name(self.bytes)
    }

    #[inline(always)]
    pub(crate) fn value(&self) -> &'h [u8] {
        self.field.value(self.bytes)
    }
}

/// One header field: where its name and its value lie in the head. Eight bytes, one store.
#[derive(Clone, Copy)]
pub(super) struct Field {
    pub(super) name: u16,
    pub(super) name_len: u16,
    pub(super) value: u16,
    pub(super) value_len: u16,
}

impl Field {
    pub(super) const EMPTY: Self = Self { name: 0, name_len: 0, value: 0, value_len: 0 };

    #[inline]
    fn name<'h>(&self, head: &'h [u8]) -> &'h [u8] {
        let from = usize::from(self.name);
        head.get(from..from + usize::from(self.name_len)).unwrap_or_else(elsewhere)
    }

    #[inline]
    fn value<'h>(&self, head: &'h [u8]) -> &'h [u8] {
        let from = usize::from(self.value);
        head.get(from..from + usize::from(self.value_len)).unwrap_or_else(elsewhere)
    }

    #[inline]
    fn is(&self, head: &[u8], name: &str) -> bool {
        usize::from(self.name_len) == name.len() && self.name(head).eq_ignore_ascii_case(name.as_bytes())
    }
}

/// What a field that does not lie in its head would hold. There is none; cold, so that nothing is computed for it.
#[cold]
fn elsewhere<'h>() -> &'h [u8] {
    &[]
}

/// What the parser proved to be ASCII, as text. O(n), a few bytes per step.
#[inline]
pub(super) fn text(ascii: &[u8]) -> &str {
    core::str::from_utf8(ascii).unwrap_or_default()
}
