//! foreshadow: a DHCP server for hypervisor networks that looks ahead.

pub mod api;
pub mod base;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod engine;
pub mod import;
pub mod lab;
pub mod lease;
pub mod net;
pub mod store;
pub mod wire;
