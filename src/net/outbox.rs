//! What is to be sent, collected and sent in batches.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use super::sys;

/// Packets back to back in one buffer that is used again and again.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    /// Where each packet ends.
    ends: Vec<usize>,
}

/// What became of the packets of an [`Outbox`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Taken by the kernel.
    pub sent: u64,
    /// Refused: the interface is down or gone, there is no route, or its queue is full.
    pub failed: u64,
    /// What the system said of the last refused one (an `errno`).
    pub last_error: Option<i32>,
}

/// Where a packet goes, by its number and what is sent of it.
pub(super) type Route<'a> = &'a dyn Fn(usize, &[u8]) -> SocketAddr;

impl Outbox {
    /// Appends the packet that `write` appends to the buffer.
    pub fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many packets there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Forgets all packets and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// The packet with this number.
    pub fn get(&self, i: usize) -> Option<&[u8]> {
        let start = if i == 0 { 0 } else { *self.ends.get(i - 1)? };
        self.bytes.get(start..*self.ends.get(i)?)
    }

    /// Sends everything, each packet without its first `skip` bytes, and clears. `route` gives the
    /// destination of a packet, by its number and what is sent of it, where the socket is not
    /// bound to one.
    pub(super) fn send(
        &mut self,
        socket: &impl AsFd,
        skip: usize,
        route: Option<Route<'_>>,
    ) -> Sent {
        let mut outcome = Sent::default();
        let mut next = 0;
        while next < self.len() {
            match self.send_from(next, socket, skip, route) {
                Ok(count) => {
                    outcome.sent += count as u64;
                    next += count.max(1);
                }
                // The queue is full: what is left would meet the same.
                Err(e) if is_full(&e) => {
                    outcome.failed += (self.len() - next) as u64;
                    outcome.last_error = e.raw_os_error();
                    break;
                }
                // An error is about the first packet; the ones after it may do better.
                Err(e) => {
                    outcome.failed += 1;
                    outcome.last_error = e.raw_os_error();
                    next += 1;
                }
            }
        }
        self.clear();
        outcome
    }

    fn send_from(
        &self,
        first: usize,
        socket: &impl AsFd,
        skip: usize,
        route: Option<Route<'_>>,
    ) -> io::Result<usize> {
        let packet = |i: usize| self.get(first + i).and_then(|p| p.get(skip..)).unwrap_or_default();
        let to = route.map(|route| move |i: usize, packet: &[u8]| route(first + i, packet));
        sys::sendmmsg(socket, self.len() - first, packet, to)
    }
}

fn is_full(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::WouldBlock || e.raw_os_error() == Some(libc::ENOBUFS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_keep_their_borders() {
        let mut outbox = Outbox::default();
        for packet in [&b"ab"[..], b"", b"cde"] {
            outbox.push(|bytes| bytes.extend_from_slice(packet));
        }
        assert_eq!(outbox.len(), 3);
        assert_eq!(outbox.get(0), Some(&b"ab"[..]));
        assert_eq!(outbox.get(1), Some(&b""[..]));
        assert_eq!(outbox.get(2), Some(&b"cde"[..]));
        assert_eq!(outbox.get(3), None);
        outbox.clear();
        assert!(outbox.is_empty());
        assert_eq!(outbox.get(0), None);
    }
}
