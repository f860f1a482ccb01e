//! What the kernel knows of a port at this moment: asked of netlink, since sysfs shows the
//! namespace that it was mounted in.

use std::io;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use socket2::SockRef;

use crate::base::LinkId;

/// The kernel answers within microseconds, unless somebody else keeps it from its interfaces.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(50);
/// One interface with all its attributes.
const DATAGRAM_BYTES: usize = 32 << 10;
/// Answers to earlier questions that were not waited for, read over at most.
const STALE_MAX: usize = 64;
const HEADER: usize = 16;
/// `nlmsghdr` and `ifinfomsg`.
const HEADERS: usize = 32;
const IFLA_STATS64: u16 = 23;
/// Flags of an attribute's type, in its two highest bits.
const TYPE_MASK: u16 = 0x3fff;

/// A port at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PortState {
    /// It is up and there is somebody at its other end. The kernel may tell of the loss of a link
    /// up to a second later if another was lost just before; asked for it, it says so at once.
    pub(super) has_carrier: bool,
    /// Packets that the host took from it.
    pub(super) rx: u64,
    /// Packets that the host gave to it.
    pub(super) tx: u64,
}

/// Asks without allocating.
#[derive(Debug)]
pub(super) struct Ports {
    socket: Socket,
    buffer: Box<[u8]>,
    sequence: u32,
}

impl Ports {
    pub(super) fn open() -> io::Result<Ports> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        SockRef::from(&socket).set_read_timeout(Some(ANSWER_TIMEOUT))?;
        socket.bind_auto()?;
        Ok(Ports { socket, buffer: vec![0; DATAGRAM_BYTES].into(), sequence: 0 })
    }

    /// The state of a port; `None` if there is none of this index.
    pub(super) fn state(&mut self, port: LinkId) -> io::Result<Option<PortState>> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send_to(&request(port, self.sequence), &SocketAddr::new(0, 0), 0)?;
        for _ in 0..STALE_MAX {
            let len = self.socket.recv(&mut &mut self.buffer[..], 0)?;
            let answer = self.buffer.get(..len).unwrap_or_default();
            if number(answer, 8) != Some(self.sequence) {
                continue;
            }
            return match half(answer, 4) {
                Some(kind) if kind == libc::NLMSG_ERROR as u16 => refused(answer),
                _ => read(answer).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into()),
            };
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

/// RTM_GETLINK of one interface.
fn request(port: LinkId, sequence: u32) -> [u8; HEADERS] {
    let mut request = [0; HEADERS];
    request[0..4].copy_from_slice(&(HEADERS as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&libc::RTM_GETLINK.to_ne_bytes());
    request[6..8].copy_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    request[8..12].copy_from_slice(&sequence.to_ne_bytes());
    request[20..24].copy_from_slice(&port.0.to_ne_bytes());
    request
}

fn refused(answer: &[u8]) -> io::Result<Option<PortState>> {
    let code = number(answer, HEADER).map_or(libc::EPROTO, |code| (code as i32).wrapping_neg());
    match code {
        libc::ENODEV => Ok(None),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

fn read(answer: &[u8]) -> Option<PortState> {
    let has_carrier = number(answer, HEADER + 8)? & libc::IFF_LOWER_UP as u32 != 0;
    let mut rest = answer.get(HEADERS..)?;
    loop {
        let (len, kind) = (usize::from(half(rest, 0)?), half(rest, 2)? & TYPE_MASK);
        if kind == IFLA_STATS64 {
            let counter = |at: usize| Some(u64::from_ne_bytes(*rest.get(at..len)?.first_chunk()?));
            return Some(PortState { has_carrier, rx: counter(4)?, tx: counter(12)? });
        }
        rest = rest.get(len.max(4).next_multiple_of(4)..)?;
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_of_a_port() {
        let mut ports = Ports::open().unwrap();
        // The loopback is there in every namespace, up or not.
        let before = ports.state(LinkId(1)).unwrap().unwrap();
        assert_eq!(before.rx, before.tx);
        assert_eq!(ports.state(LinkId(u32::MAX >> 1)).unwrap(), None);
    }

    #[test]
    fn damaged_answers_are_no_state() {
        let mut answer = vec![0; HEADERS];
        answer[HEADER + 8..HEADER + 12].copy_from_slice(&(libc::IFF_LOWER_UP as u32).to_ne_bytes());
        let name = [8u16.to_ne_bytes(), 3u16.to_ne_bytes(), [b't'; 2], [0; 2]].concat();
        answer.extend(name);
        assert_eq!(read(&answer), None);
        answer.extend([20u16.to_ne_bytes(), IFLA_STATS64.to_ne_bytes()].concat());
        answer.extend(5u64.to_ne_bytes());
        answer.extend(6u64.to_ne_bytes());
        assert_eq!(read(&answer), Some(PortState { has_carrier: true, rx: 5, tx: 6 }));
        for len in 0..answer.len() {
            assert_eq!(read(&answer[..len]), None, "cut to {len} bytes");
        }
        answer[32..34].copy_from_slice(&0u16.to_ne_bytes());
        assert_eq!(read(&answer), None, "an attribute of no length ends nowhere");
    }
}
