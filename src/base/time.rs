//! The only time that the engine knows. Nothing here can read a clock.

use std::fmt;
use std::ops::{Add, Sub};

/// A moment: milliseconds since the Unix epoch, so that it survives a restart.
///
/// The daemon makes it from the boot clock and a stored offset, so a step of the wall clock moves
/// no `Timestamp` (see `daemon::clock`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

/// A length of time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub u64);

impl Timestamp {
    /// The end of time: the expiry of an infinite lease.
    pub const NEVER: Timestamp = Timestamp(u64::MAX);

    /// Whole seconds since the epoch.
    pub fn secs(self) -> u64 {
        self.0 / 1000
    }

    /// From whole seconds since the epoch.
    pub fn from_secs(secs: u64) -> Timestamp {
        Timestamp(secs.saturating_mul(1000))
    }

    /// How long after `earlier` this is; zero if it is not after.
    pub fn since(self, earlier: Timestamp) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);
    /// Without end: what an infinite lease lasts.
    pub const FOREVER: Span = Span(u64::MAX);

    /// From whole seconds.
    pub const fn from_secs(secs: u64) -> Span {
        Span(secs.saturating_mul(1000))
    }

    /// From milliseconds.
    pub const fn from_ms(ms: u64) -> Span {
        Span(ms)
    }

    /// Seconds as the wire carries them: rounded down, and `u32::MAX` (infinity, RFC 2131 s3.3)
    /// for anything that does not fit.
    pub fn wire_secs(self) -> u32 {
        u32::try_from(self.0 / 1000).unwrap_or(u32::MAX)
    }

    /// Whether this is [`Span::FOREVER`].
    pub fn is_forever(self) -> bool {
        self == Span::FOREVER
    }
}

/// Saturates: anything plus [`Span::FOREVER`] is [`Timestamp::NEVER`].
impl Add<Span> for Timestamp {
    type Output = Timestamp;
    fn add(self, span: Span) -> Timestamp {
        Timestamp(self.0.saturating_add(span.0))
    }
}

/// Saturates at the epoch.
impl Sub<Span> for Timestamp {
    type Output = Timestamp;
    fn sub(self, span: Span) -> Timestamp {
        Timestamp(self.0.saturating_sub(span.0))
    }
}

/// As people write it: `1h30m`, `45s`, `infinite`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_forever() {
            return f.write_str("infinite");
        }
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut left = self.0;
        for (unit, name) in
            [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")]
        {
            if left >= unit {
                write!(f, "{}{name}", left / unit)?;
                left %= unit;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forever_is_contagious() {
        assert_eq!(Timestamp(5) + Span::FOREVER, Timestamp::NEVER);
        assert_eq!(Span::FOREVER.wire_secs(), u32::MAX);
    }

    #[test]
    fn spans_read_as_people_write_them() {
        assert_eq!(Span::from_secs(5400).to_string(), "1h30m");
        assert_eq!(Span::from_ms(1500).to_string(), "1s500ms");
        assert_eq!(Span::FOREVER.to_string(), "infinite");
    }
}
