//! The wire and the kernel: packet and UDP sockets, netlink, and the poller that waits for them.
//!
//! - [`raw`]: frames of a link, read behind a kernel filter ([`filter`]) and sent as they are.
//! - [`udp`]: relayed and routed traffic, in by port 67, out by the kernel's routes.
//! - [`link`]: which interfaces there are, their addresses, and behind which bridge port a MAC is.
//! - [`poll`]: one wait for all of them, and a waker for other threads.
//! - [`sys`]: every `unsafe` line of the project.
//!
//! Needs Linux 5.0 (`SO_BINDTOIFINDEX`). Nothing here allocates for a packet: a [`RecvBatch`] is filled again and again, and what is to
//! be sent is collected in an [`Outbox`] and leaves with one system call.

pub mod filter;
pub mod link;
mod netlink;
mod outbox;
pub mod poll;
pub mod raw;
pub mod sys;
pub mod udp;

pub use link::{Link, LinkEvent, LinkMonitor};
pub use outbox::{Outbox, Sent};
pub use poll::{Poller, Token, Waker};
pub use raw::{Frame, FrameSocket, Mode};
pub use sys::RecvBatch;
pub use udp::{Datagram, RoutedSocket, Takes, UdpSocket};
