//! Small numbers and texts in bytes, and their reader, which never reads past the end.

use std::sync::Arc;

use super::model::NAME_MAX;

/// Bytes end too early, or are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot be read")]
pub(super) struct Unreadable;

/// Reads from the front of `rest`.
pub(super) struct Reader<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Unreadable> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Unreadable)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Unreadable> {
        self.take(1)?.first().copied().ok_or(Unreadable)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Unreadable> {
        self.take(4)?.try_into().map(u32::from_le_bytes).map_err(|_| Unreadable)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Unreadable> {
        self.take(8)?.try_into().map(u64::from_le_bytes).map_err(|_| Unreadable)
    }

    pub(super) fn f64(&mut self) -> Result<f64, Unreadable> {
        self.u64().map(f64::from_bits)
    }

    /// A count that its items, of at least `size` bytes each, leave room for.
    pub(super) fn count(&mut self, size: usize) -> Result<usize, Unreadable> {
        let count = self.u32()? as usize;
        if count.saturating_mul(size) > self.rest.len() { Err(Unreadable) } else { Ok(count) }
    }

    /// A short text.
    pub(super) fn text(&mut self) -> Result<Arc<str>, Unreadable> {
        let length = usize::from(self.u8()?);
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map(Arc::from).map_err(|_| Unreadable)
    }

    /// Bytes with their length before them.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Unreadable> {
        let length = self.count(1)?;
        self.take(length)
    }
}

/// A name in its length and bytes: one of at most [`NAME_MAX`] bytes.
pub(super) fn put_text(text: &str, out: &mut Vec<u8>) {
    debug_assert!(text.len() <= NAME_MAX, "names are checked where they come from");
    let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
    out.push(length);
    out.extend_from_slice(text.as_bytes().get(..usize::from(length)).unwrap_or_default());
}

/// Bytes after their length.
pub(super) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_count(bytes.len(), out);
    out.extend_from_slice(bytes);
}

/// How many there are.
pub(super) fn put_count(count: usize, out: &mut Vec<u8>) {
    debug_assert!(u32::try_from(count).is_ok(), "what is counted is bounded far below");
    out.extend_from_slice(&(count as u32).to_le_bytes());
}
