//! Bytes on the wire: reading what arrives, writing what leaves. Nothing here judges or decides.
//!
//! | you look for | it is in |
//! | --- | --- |
//! | where an option of a client is read | [`v4`]: `Message` and its getters; [`relay4`], [`fqdn`] and [`user_class`] look inside options 82, 81 and 77 |
//! | the same of DHCPv6 | [`v6`]: `Message6`; [`v6_ia`] looks inside identity associations, [`v6_relay`] unwraps what relays send, [`v6_class`] and [`fqdn6`] look inside options 15, 16 and 39, [`duid`] inside 1 and 2 |
//! | where an option of a reply is written | [`v4_write`]: `write_reply` splits, overloads and drops; [`v6_write`]: `Writer6` nests, `wrap_relay` sends back through relays |
//! | an option's code, or the encoding of a value known only at run time | [`options`], [`options6`] |
//! | Ethernet, IP and UDP around a message | [`frame`], [`frame6`] |
//! | probes and their answers | [`arp`], [`ndp`], [`echo6`] |
//! | who has an address from now on | [`announce`] |
//! | router advertisements | [`ra`] |
//! | requests for tests, fuzzing and tools | [`v4_build`], [`v6_build`] |
//! | multicast listener reports | [`mld`] |
//!
//! Everything that reads is bounded, copies nothing and cannot panic: bytes from outside lead to
//! a value or to an error that says what is wrong.

pub mod announce;
pub mod arp;
pub mod checksum;
pub mod duid;
pub mod echo6;
pub mod fqdn;
pub mod fqdn6;
pub mod frame;
pub mod frame6;
pub mod mld;
pub mod ndp;
pub mod options;
pub mod options6;
pub mod ra;
pub mod relay4;
pub mod user_class;
pub mod v4;
pub mod v4_build;
pub mod v4_kind;
pub mod v4_write;
pub mod v6;
pub mod v6_build;
pub mod v6_class;
pub mod v6_ia;
pub mod v6_kind;
pub mod v6_relay;
pub mod v6_write;

pub use announce::Announcement;
pub use arp::ArpFrame;
pub use fqdn::Fqdn;
pub use frame::{FrameError, UdpFrame, read_udp4, write_udp4};
pub use frame6::{UdpFrame6, multicast_mac, read_udp6, write_udp6};
pub use relay4::RelayInfo;
pub use v4::{Kind, Message, MessageType, WireError};
pub use v4_write::{Dropped, OutOption, ReplyV4, write_reply};
pub use v6::{Kind6, Message6, MessageType6, WireError6};
pub use v6_ia::{Ia, IaAddr, IaKind, IaPrefix};
pub use v6_relay::{Hop, Relayed6};
pub use v6_write::{WriteError6, Writer6, wrap_relay};
