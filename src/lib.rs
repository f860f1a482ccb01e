//! foreshadow: a DHCP server for hypervisor networks that looks ahead.
pub mod api;
pub mod base;
pub mod config;
pub mod daemon;
pub mod engine;
pub mod import;
pub mod lease;
pub mod store;

pub mod cli;
