//! The gate: which ports of a bridge may speak for which addresses.
//!
//! Two guests may hold one address, of which one is to be heard. Rules of nf_tables in the bridge
//! family, in a table of our own, drop ARP, neighbour discovery and IP of a shared address from and
//! to every port but its owner's, and let DHCP through. The rules are made once; what changes are
//! the elements of sets, and all that a switchover changes is one transaction of the kernel.
//!
//! Ports of guests can be **guarded** beside that: their frames carry their own hardware and leased
//! addresses, they are neither DHCP servers nor routers, and ask for leases no faster than they may.
//!
//! - [`Rules`] says what is to hold. It does no IO.
//! - [`Gate`] brings the kernel from one to another, and says what the kernel has. Needs
//!   `CAP_NET_ADMIN`. What it made stays in force when the process ends.
//!
//! Interfaces go by name, so that a port that is made anew under its name is under the same rules
//! from its first frame.

mod message;
mod rules;
mod ruleset;
mod socket;

pub use rules::{BadPort, Port, Rules};
pub use socket::{Gate, GateError};
