//! foreshadow: a DHCP server for hypervisor networks that looks ahead.
//!
//! The modules in reading order. Imports go down this table and never sideways; what stands above
//! [`store`] does no IO and reads no clock. `docs/architecture.md` follows one packet through them.
//!
//! | layer | module | what it is |
//! | --- | --- | --- |
//! | 0 | [`base`] | words: time, addresses, identities, names |
//! | 1 | [`wire`] | frames and DHCP messages, from bytes and to bytes |
//! | 1 | [`config`] | the TOML file, checked into a [`config::Policy`]; options encoded |
//! | 1 | [`import`] | the lease files of other servers |
//! | 2 | [`lease`] | bindings, their indexes, and the free addresses of a pool |
//! | 2 | [`forecast`] | looks ahead: histories in, quantiles of what comes out; anomalies |
//! | 2 | [`watch`] | whether a VM failed, by the signs of life that there are |
//! | 2 | [`reconcile`] | what answers on the wire, compared with what is bound |
//! | 3 | [`engine`] | decides: an input and the time in, effects out |
//! | 3 | [`foresight`] | what is said of the next period, and what came of what was said |
//! | 3 | [`switchover`] | what comes next of a pair with one address, from what is durable of it |
//! | 4 | [`store`] | makes bindings durable: a journal, and a checkpoint behind it |
//! | 4 | [`telemetry`] | what instances report: taken, kept, downsampled, scraped |
//! | 4 | [`net`] | packet sockets, UDP sockets, interfaces |
//! | 5 | [`backtest`] | event logs played through the engine on a virtual clock |
//! | 5 | [`agent`] | changes a host's network for a switchover: gate, announcements, forwarding |
//! | 5 | [`scan`] | asks a link and listens: the sockets around [`reconcile`] |
//! | 5 | [`api`] | the control socket: requests to commands |
//! | 6 | [`daemon`] | the running server: threads, clock, signals, logs |
//! | 6 | [`lab`] | the demonstration in namespaces of its own |
//! | 7 | [`cli`] | what people type |

pub mod base;

pub mod config;
pub mod import;
pub mod wire;

pub mod forecast;
pub mod lease;
pub mod reconcile;
pub mod watch;

pub mod engine;
pub mod foresight;
pub mod switchover;

pub mod net;
pub mod store;
pub mod telemetry;

pub mod agent;
pub mod api;
pub mod backtest;
pub mod scan;

pub mod daemon;
pub mod lab;

pub mod cli;
