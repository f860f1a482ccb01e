//! `[audit]`: how long it is remembered who held which address, and what operators did.

use crate::base::Span;

use super::keys::key;
use super::node::Table;
use super::read::duration;
use super::schema::Section;

const MIB: u64 = 1 << 20;
const DAY: u64 = 86_400;

pub(super) static AUDIT: Section = Section {
    path: "audit",
    header: "[audit]",
    about: "The archive of audit records: who held which address, and what operators did. Takes effect at the next start.",
    settings: false,
    keys: &[
        key(
            "keep",
            "\"90d\"",
            "\"90d\"",
            "How long records are kept, 1d to 3650d. They go in pieces of at most a sixteenth of this time.",
        ),
        key(
            "max_size",
            "\"1GiB\"",
            "\"1GiB\"",
            "How much of them is kept, 32 MiB to 1 TiB; the oldest go first. A record has some 150 bytes.",
        ),
    ],
};

/// `[audit]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditPolicy {
    /// How long records are kept (default 90 days).
    pub keep: Span,
    /// How many bytes of them are kept (default 1 GiB).
    pub max_bytes: u64,
}

impl Default for AuditPolicy {
    fn default() -> AuditPolicy {
        AuditPolicy { keep: Span::from_secs(90 * DAY), max_bytes: 1024 * MIB }
    }
}

/// `[audit]` of the document.
pub(super) fn audit(root: &Table<'_>) -> AuditPolicy {
    let table = root.get("audit").and_then(|n| n.table(&AUDIT));
    let get = |key: &str| table.as_ref().and_then(|t| t.get(key));
    let default = AuditPolicy::default();
    let days = |n: u64| Span::from_secs(n * DAY);
    AuditPolicy {
        keep: duration(get("keep"), days(1), days(3650), default.keep),
        max_bytes: get("max_size")
            .and_then(|n| n.size(32 * MIB, MIB << 20))
            .unwrap_or(default.max_bytes),
    }
}
