//! The system calls that no safe crate wraps. Every `unsafe` line of the project is in this file.
#![allow(unsafe_code)]

use std::io;
use std::mem::{MaybeUninit, size_of, size_of_val, zeroed};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use libc::{c_int, c_void, iovec, mmsghdr, sockaddr_in, sockaddr_in6, sockaddr_ll, socklen_t};
use socket2::{SockAddr, SockAddrStorage};

/// Packets read or sent by one system call at most.
pub const BATCH: usize = 64;
/// Longest packet that is read whole; a longer one is marked truncated.
pub const SLOT_BYTES: usize = 4096;
/// Holds any `sockaddr` that is read here: `sockaddr_ll` is the longest with 20 bytes.
const NAME_BYTES: usize = 32;
/// Holds the control messages that the sockets ask for: auxdata (36) or pktinfo (28), padded.
const CONTROL_BYTES: usize = 128;

/// Buffers for one `recvmmsg`, allocated once and filled again and again.
pub struct RecvBatch {
    data: Box<[[u8; SLOT_BYTES]]>,
    names: Box<[[u8; NAME_BYTES]]>,
    control: Box<[[u8; CONTROL_BYTES]]>,
    filled: [Filled; BATCH],
    count: usize,
}

/// How much of a slot the kernel filled.
#[derive(Clone, Copy, Default)]
struct Filled {
    len: usize,
    name: usize,
    control: usize,
    flags: c_int,
}

/// One packet of a batch as the kernel gave it.
pub(super) struct Received<'a> {
    pub(super) bytes: &'a [u8],
    /// The source as a `sockaddr`.
    pub(super) name: &'a [u8],
    control: &'a [u8],
    /// Longer than its slot.
    pub(super) truncated: bool,
}

impl Default for RecvBatch {
    fn default() -> Self {
        RecvBatch {
            data: vec![[0; SLOT_BYTES]; BATCH].into(),
            names: vec![[0; NAME_BYTES]; BATCH].into(),
            control: vec![[0; CONTROL_BYTES]; BATCH].into(),
            filled: [Filled::default(); BATCH],
            count: 0,
        }
    }
}

impl RecvBatch {
    /// How many packets the last receive brought.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether the last receive brought none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn get(&self, i: usize) -> Option<Received<'_>> {
        let filled = self.filled[..self.count].get(i)?;
        Some(Received {
            bytes: &self.data[i][..filled.len.min(SLOT_BYTES)],
            name: &self.names[i][..filled.name.min(NAME_BYTES)],
            control: &self.control[i][..filled.control.min(CONTROL_BYTES)],
            truncated: filled.flags & libc::MSG_TRUNC != 0,
        })
    }

    /// Fills the batch from `socket` without waiting; `Ok(0)` if nothing is there.
    pub(super) fn recv(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        self.count = 0;
        let mut slots = [const { MaybeUninit::<iovec>::uninit() }; BATCH];
        let mut headers = [const { MaybeUninit::<mmsghdr>::uninit() }; BATCH];
        let buffers = self.data.iter_mut().zip(self.names.iter_mut().zip(self.control.iter_mut()));
        for ((slot, header), (data, (name, control))) in
            slots.iter_mut().zip(&mut headers).zip(buffers)
        {
            let slot =
                slot.write(iovec { iov_base: data.as_mut_ptr().cast(), iov_len: SLOT_BYTES });
            // SAFETY: mmsghdr is a plain C struct for which all-zero is a valid value.
            let header = &mut header.write(unsafe { zeroed() }).msg_hdr;
            header.msg_name = name.as_mut_ptr().cast();
            header.msg_namelen = NAME_BYTES as socklen_t;
            header.msg_iov = &raw mut *slot;
            header.msg_iovlen = 1;
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = CONTROL_BYTES as _;
        }
        let fd = socket.as_fd().as_raw_fd();
        let count = retry(|| {
            // SAFETY: all BATCH headers were written; each points to a name, an iovec and a
            // control buffer of the stated size; all outlive the call and nothing else refers
            // to them during it.
            unsafe {
                let (headers, no_timeout) = (headers.as_mut_ptr().cast(), std::ptr::null_mut());
                libc::recvmmsg(fd, headers, BATCH as _, libc::MSG_DONTWAIT, no_timeout)
            }
        });
        self.count = match count {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
            other => other? as usize,
        };
        for (filled, header) in self.filled.iter_mut().zip(&headers[..self.count]) {
            // SAFETY: it was written above.
            let message = unsafe { header.assume_init_ref() };
            *filled = Filled {
                len: message.msg_len as usize,
                name: message.msg_hdr.msg_namelen as usize,
                // Another type with musl.
                #[allow(clippy::unnecessary_cast)]
                control: message.msg_hdr.msg_controllen as usize,
                flags: message.msg_hdr.msg_flags,
            };
        }
        Ok(self.count)
    }
}

impl<'a> Received<'a> {
    /// The payload of the control message of this level and type (`cmsg(3)`).
    pub(super) fn control(&self, level: c_int, kind: c_int) -> Option<&'a [u8]> {
        const HEADER: usize = size_of::<libc::cmsghdr>();
        const WORD: usize = size_of::<usize>();
        let mut rest = self.control;
        loop {
            let len = usize::from_ne_bytes(rest.get(..WORD)?.try_into().ok()?);
            let found_level = c_int::from_ne_bytes(rest.get(WORD..WORD + 4)?.try_into().ok()?);
            let found_kind = c_int::from_ne_bytes(rest.get(WORD + 4..WORD + 8)?.try_into().ok()?);
            if (found_level, found_kind) == (level, kind) {
                return rest.get(HEADER..len);
            }
            rest = rest.get(len.max(HEADER).next_multiple_of(WORD)..)?;
        }
    }
}

/// Sends packets as one message each, the first [`BATCH`] of `count` at most, without waiting; the
/// number sent. `packet` gives each by its number, `to` its destination where the socket is not
/// bound to one.
pub(super) fn sendmmsg<'a>(
    socket: &impl AsFd,
    count: usize,
    packet: impl Fn(usize) -> &'a [u8],
    to: Option<impl Fn(usize, &[u8]) -> SocketAddr>,
) -> io::Result<usize> {
    // Only what is sent is written: to clear all of it would cost as much as to send a packet.
    let mut slices = [const { MaybeUninit::<iovec>::uninit() }; BATCH];
    let mut names = [const { MaybeUninit::<sockaddr_in6>::uninit() }; BATCH];
    let mut messages = [const { MaybeUninit::<mmsghdr>::uninit() }; BATCH];
    let count = count.min(BATCH);
    for i in 0..count {
        let bytes = packet(i);
        // The kernel only reads through it.
        let slice = iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        // SAFETY: mmsghdr is a plain C struct for which all-zero is a valid value.
        let mut message: mmsghdr = unsafe { zeroed() };
        message.msg_hdr.msg_iov = slices[i].write(slice);
        message.msg_hdr.msg_iovlen = 1;
        if let Some(to) = &to {
            // SAFETY: the same holds for sockaddr_in6.
            let name = names[i].write(unsafe { zeroed() });
            message.msg_hdr.msg_namelen = write_name(name, to(i, bytes));
            message.msg_hdr.msg_name = (&raw mut *name).cast();
        }
        messages[i].write(message);
    }
    let (fd, messages) = (socket.as_fd().as_raw_fd(), messages.as_mut_ptr().cast());
    let sent = retry(|| {
        // SAFETY: the first `count` headers were written; each points to a name (or none) and
        // one slice, which live until the call returns.
        unsafe { libc::sendmmsg(fd, messages, count as _, libc::MSG_DONTWAIT) }
    })?;
    Ok(sent as usize)
}

/// Writes `addr` as the `sockaddr` of its family; the length of that.
fn write_name(name: &mut sockaddr_in6, addr: SocketAddr) -> socklen_t {
    let len = match addr {
        SocketAddr::V4(addr) => {
            let name: *mut sockaddr_in = (&raw mut *name).cast();
            // SAFETY: sockaddr_in is shorter than sockaddr_in6 and no more strictly aligned; all
            // bytes of both are initialised.
            let name = unsafe { &mut *name };
            name.sin_family = libc::AF_INET as _;
            name.sin_port = addr.port().to_be();
            name.sin_addr.s_addr = u32::from(*addr.ip()).to_be();
            size_of::<sockaddr_in>()
        }
        SocketAddr::V6(addr) => {
            name.sin6_family = libc::AF_INET6 as _;
            name.sin6_port = addr.port().to_be();
            name.sin6_addr.s6_addr = addr.ip().octets();
            name.sin6_scope_id = addr.scope_id();
            size_of::<sockaddr_in6>()
        }
    };
    len as socklen_t
}

/// The address that binds a packet socket to an interface (`packet(7)`).
pub(super) fn link_address(index: u32, ethertype: u16) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: sockaddr_ll is one of this platform's sockaddr types and fits the storage, which
    // is zeroed.
    let address = unsafe { storage.view_as::<sockaddr_ll>() };
    address.sll_family = libc::AF_PACKET as _;
    address.sll_protocol = ethertype.to_be();
    address.sll_ifindex = index as c_int;
    // SAFETY: family and length are those of the sockaddr_ll just written.
    unsafe { SockAddr::new(storage, size_of::<sockaddr_ll>() as socklen_t) }
}

/// Sets an integer option.
pub(super) fn set_option(
    socket: &impl AsFd,
    level: c_int,
    name: c_int,
    value: c_int,
) -> io::Result<()> {
    // SAFETY: c_int is plain data.
    unsafe { set_raw_option(socket.as_fd(), level, name, &value) }
}

/// Makes the interface pass up frames to other hosts, for as long as the socket is open.
pub(super) fn set_promiscuous(socket: &impl AsFd, index: u32) -> io::Result<()> {
    // SAFETY: packet_mreq is a plain C struct for which all-zero is a valid value.
    let mut request: libc::packet_mreq = unsafe { zeroed() };
    request.mr_ifindex = index as c_int;
    request.mr_type = libc::PACKET_MR_PROMISC as _;
    add_membership(socket, &request)
}

/// Makes the interface pass up frames to a multicast address, for as long as the socket is open.
pub(super) fn add_packet_group(socket: &impl AsFd, index: u32, group: [u8; 6]) -> io::Result<()> {
    // SAFETY: packet_mreq is a plain C struct for which all-zero is a valid value.
    let mut request: libc::packet_mreq = unsafe { zeroed() };
    request.mr_ifindex = index as c_int;
    request.mr_type = libc::PACKET_MR_MULTICAST as _;
    request.mr_alen = group.len() as _;
    request.mr_address[..group.len()].copy_from_slice(&group);
    add_membership(socket, &request)
}

fn add_membership(socket: &impl AsFd, request: &libc::packet_mreq) -> io::Result<()> {
    // SAFETY: packet_mreq is plain data, and what this option takes.
    unsafe {
        set_raw_option(socket.as_fd(), libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, request)
    }
}

/// # Safety
/// `T` must be plain data without padding that matters, as the option wants it.
unsafe fn set_raw_option<T>(
    socket: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: &T,
) -> io::Result<()> {
    let (value, len) = ((&raw const *value).cast::<c_void>(), size_of_val(value) as socklen_t);
    // SAFETY: `value` is valid for `len` bytes.
    retry(|| unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value, len) }).map(drop)
}

/// Frames that found a packet socket's buffer full since the last call (`PACKET_STATISTICS`).
pub(super) fn packet_drops(socket: &impl AsFd) -> io::Result<u32> {
    let mut stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut len = size_of_val(&stats) as socklen_t;
    // SAFETY: `stats` is plain data of `len` bytes that the kernel may overwrite.
    retry(|| unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut stats).cast(),
            &raw mut len,
        )
    })?;
    Ok(stats.tp_drops)
}

/// A new epoll instance.
pub(super) fn epoll_create() -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })
}

/// Adds `fd` to the instance: level-triggered, for reading.
pub(super) fn epoll_add(epoll: &OwnedFd, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token };
    let (epoll, fd) = (epoll.as_raw_fd(), fd.as_raw_fd());
    // SAFETY: `event` lives through the call.
    retry(|| unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event) }).map(drop)
}

/// Waits; the tokens of what is ready go to `ready`, the first [`BATCH`] at most.
pub(super) fn epoll_wait(
    epoll: &OwnedFd,
    timeout_ms: c_int,
    ready: &mut Vec<u64>,
) -> io::Result<()> {
    let mut events = [const { MaybeUninit::<libc::epoll_event>::uninit() }; BATCH];
    // SAFETY: the kernel writes at most BATCH events.
    let count = unsafe {
        let events = events.as_mut_ptr().cast();
        libc::epoll_wait(epoll.as_raw_fd(), events, BATCH as c_int, timeout_ms)
    };
    ready.clear();
    match check(count) {
        // A signal is a reason to look around.
        Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
        Err(e) => Err(e),
        Ok(count) => {
            // SAFETY: the kernel wrote the first `count`.
            let token = |event: &MaybeUninit<libc::epoll_event>| unsafe { event.assume_init().u64 };
            ready.extend(events[..count as usize].iter().map(token));
            Ok(())
        }
    }
}

/// A new eventfd, not blocking.
pub(super) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })
}

/// Time since boot, suspend included (`CLOCK_BOOTTIME`). For `daemon::clock` alone.
pub fn boot_time() -> Duration {
    // SAFETY: timespec is plain data for which all-zero is valid.
    let mut time: libc::timespec = unsafe { zeroed() };
    // SAFETY: `time` is valid for the call. It cannot fail: the clock is there since Linux 2.6.39.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Whether the kernel says that the wall clock is synchronised (`adjtimex(2)`).
pub fn wall_clock_is_synchronised() -> io::Result<bool> {
    // SAFETY: timex is a plain C struct for which all-zero is valid; modes 0 changes nothing.
    let mut timex: libc::timex = unsafe { zeroed() };
    // SAFETY: `timex` is valid for the call.
    let state = check(unsafe { libc::adjtimex(&raw mut timex) })?;
    Ok(state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0)
}

fn owned(fd: c_int) -> io::Result<OwnedFd> {
    let fd = check(fd)?;
    // SAFETY: the kernel just made this descriptor, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn retry(mut call: impl FnMut() -> c_int) -> io::Result<c_int> {
    loop {
        match check(call()) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
