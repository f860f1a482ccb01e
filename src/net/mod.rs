//! The wire and the kernel: packet and UDP sockets, netlink, and the poller that waits for them.
//!
//! - [`raw`]: frames of a link, read behind a kernel filter ([`filter`]) and sent as they are.
//! - [`udp`] and [`udp6`]: relayed and routed traffic, in by the server's port, out by the kernel's
//!   routes; multicast groups.
//! - [`route`]: the kernel's routes to delegated prefixes.
//! - [`gate`]: which ports of a bridge may speak for which addresses.
//! - [`link`]: which interfaces there are, their addresses, and behind which bridge port a MAC is.
//! - [`neighbour`]: where the kernel looks for an address.
//! - [`watch`]: VMs that are watched for failures.
//! - [`poll`]: one wait for all of them, and a waker for other threads.
//! - [`sys`]: every `unsafe` line of the project.
//!
//! Needs Linux 5.0 (`SO_BINDTOIFINDEX`). Nothing here allocates for a packet: a [`RecvBatch`] is
//! filled again and again, and what is to be sent is collected in an [`Outbox`] and leaves with one
//! system call.

mod fdb;
pub mod filter;
pub mod gate;
pub mod link;
pub mod neighbour;
mod netlink;
mod outbox;
mod pace;
pub mod poll;
pub mod raw;
pub mod route;
pub mod sys;
mod timer;
pub mod tls;
pub mod udp;
pub mod udp6;
pub mod watch;

pub use link::{AddrState, Link, LinkAddr6, LinkEvent, LinkMonitor};
pub use outbox::{Outbox, Sent};
pub use poll::{Poller, Token, Waker};
pub use raw::{Frame, FrameSocket, Mode};
pub use route::{Route6, RouteTable};
pub use sys::RecvBatch;
pub use udp::{Datagram, RoutedSocket, Takes, UdpSocket};
pub use udp6::{Datagram6, Routed6Socket, Udp6Socket};
