//! The running server: what drives the engine, and what surrounds it on a host.
//!
//! The data plane, in reading order: [`driver`] (the loop), [`links`] (which interfaces, which
//! sockets), [`outgoing`] (replies to frames), [`parked`] (what waits for the disk),
//! [`committer`] (the thread that writes), [`work`] (jobs of the control plane), [`machine`]
//! (what the loop needs of an engine), [`clock`] (what time is), [`counters`] (what is counted).
//!
//! Around it: [`privilege`] gives up what is not needed, [`reload`] puts a changed configuration
//! in force, [`notify`] tells systemd, [`log`] tells people, [`hosts`] tells a DNS server.
//!
//! Where an acknowledgement becomes durable: the engine puts it into `Effects::send_after`,
//! [`driver::Driver`] hands the batch's changes to the committer and the reply to
//! [`parked::Parked`], and only [`committer::Report::Committed`] lets it go.

pub mod clock;
pub mod committer;
pub mod counters;
pub mod driver;
pub mod hosts;
pub mod links;
pub mod log;
pub mod machine;
pub mod notify;
pub mod outgoing;
pub mod parked;
pub mod privilege;
mod receive;
pub mod reload;
pub mod work;

pub use clock::Clock;
pub use counters::Counters;
pub use driver::{Driver, DriverHandle, Setup, Told};
pub use machine::Machine;
pub use work::{Bench, Job, JobError, Jobs};
