//! Bytes on the wire: reading what arrives, writing what leaves. Nothing here judges or decides.
//!
//! | you look for | it is in |
//! | --- | --- |
//! | where an option of a client is read | [`v4`]: `Message` and its getters; [`relay4`], [`fqdn`] and [`user_class`] look inside options 82, 81 and 77 |
//! | where an option of a reply is written | [`v4_write`]: `write_reply` splits, overloads and drops |
//! | an option's code, or the encoding of a value known only at run time | [`options`] |
//! | Ethernet, IPv4 and UDP around a message | [`frame`] |
//! | ARP probes and their answers | [`arp`] |
//! | multicast listener reports | [`mld`] |
//! | requests for tests, fuzzing and tools | [`v4_build`] |
//!
//! Everything that reads is bounded, copies nothing and cannot panic: bytes from outside lead to
//! a value or to an error that says what is wrong. DHCPv6 comes beside v4 in modules of its own.

pub mod arp;
pub mod fqdn;
pub mod frame;
pub mod mld;
pub mod options;
pub mod relay4;
pub mod user_class;
pub mod v4;
pub mod v4_build;
pub mod v4_kind;
pub mod v4_write;

pub use arp::ArpFrame;
pub use fqdn::Fqdn;
pub use frame::{FrameError, UdpFrame, read_udp4, write_udp4};
pub use relay4::RelayInfo;
pub use v4::{Kind, Message, MessageType, WireError};
pub use v4_write::{Dropped, OutOption, ReplyV4, write_reply};
