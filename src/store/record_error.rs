//! What can be wrong with a record.

use super::record::{ACT, RECORD_MAX, VERSION};

/// Why bytes are no record, or a fact cannot become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes end before the record does.
    #[error("record ends within its {0}")]
    Short(&'static str),
    /// The checksum does not fit the bytes.
    #[error("checksum is {found:08x}, the bytes have {want:08x}")]
    Checksum {
        /// As stored.
        found: u32,
        /// As computed.
        want: u32,
    },
    /// Written by a version that this one does not know.
    #[error("record version {0}, this program knows {VERSION}")]
    Version(u8),
    /// No such kind.
    #[error("record kind {0}, known are 1 to {ACT}")]
    Kind(u8),
    /// A field holds what it cannot.
    #[error("record has a bad {0}")]
    Field(&'static str),
    /// There are bytes after the body.
    #[error("{0} bytes follow the record's body")]
    Trailing(usize),
    /// Longer than any record may be.
    #[error("record of {0} bytes, at most {RECORD_MAX} are allowed")]
    TooLong(usize),
}
