//! The running server: what drives the engine, and what surrounds it on a host.
//!
//! [`privilege`] gives up what is not needed, [`reload`] puts a changed configuration in force,
//! [`notify`] tells systemd, [`log`] tells people, [`hosts`] tells a DNS server.

pub mod hosts;
pub mod log;
pub mod notify;
pub mod privilege;
pub mod reload;
