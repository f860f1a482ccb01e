//! What instances report: samples of their metrics, what they are, and events, pushed
//! ([`Telemetry::push`]) or scraped ([`scrape`]); kept, downsampled, and read again.
//!
//! Nothing here is on the packet path, and DHCP never waits for it: it has threads of its own, of
//! the lowest priority, and when it is damaged, full or slow, it is telemetry that suffers.
//!
//! The way of a sample: [`line`] reads it; the writer's thread ([`writer`]) checks it against the
//! [`catalogue`] of live series, appends it to the [`journal`] together with all that waits, and
//! syncs once. **Here it is durable**, and is acknowledged. It is kept in the [`head`] until that
//! is large or old; then the compactor's thread ([`compact`]) writes it to [`segment`]s, one for
//! each hour, and the journal is let go. An hour that is over is merged into one segment and
//! downsampled to five minutes, a day that is over to five minutes and hours. Retention removes
//! whole segments, oldest first.
//!
//! Why not sled, as the store of leases has it: time series come in order, are never changed, and
//! leave by age. A file for each stretch of time is written once, and removed whole: its size is
//! what it holds, and damage in one concerns no other.

pub mod catalogue;
pub mod event;
pub mod line;
pub mod model;
pub mod scrape;

mod chunk;
mod codec;
mod compact;
mod error;
mod events;
mod files;
mod head;
mod journal;
mod merge;
mod open;
mod query;
mod segment;
mod shared;
mod snapshot;
mod writer;

#[cfg(test)]
mod tests;

pub use catalogue::{Known, Scope};
pub use error::FileError;
pub use event::{Event, EventId, EventKind};
pub use events::EventFilter;
pub use model::{Bucket, InstanceRecord, Point, Resolution, SeriesKey};
pub use query::{BUCKETS_MAX, History};
pub use shared::{Busy, Push, Status, Taken, Telemetry};
pub use writer::lower_priority;
