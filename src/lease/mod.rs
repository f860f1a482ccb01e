//! Bindings: what they are, how they change, and every index by which they are found.

pub mod change;
pub mod lease;

pub use change::{Change, Seq};
pub use lease::{Details, Lease, QuarantineReason, State};
