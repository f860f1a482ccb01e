//! One wait for many descriptors, and a way for other threads to end it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::Span;

use super::sys;

/// Names a registered descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// Waits until a descriptor is readable. Closing a descriptor removes it.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
    ready: Vec<u64>,
    waker: Waker,
}

/// Ends a wait of its [`Poller`], from any thread and as often as one likes.
#[derive(Clone, Debug)]
pub struct Waker(Arc<WakerInner>);

#[derive(Debug)]
struct WakerInner {
    event: File,
    /// Set until the poller has seen it, so that many calls cost one write.
    pending: AtomicBool,
}

const WAKER: u64 = u64::MAX;

impl Poller {
    /// A poller that waits for its waker only.
    pub fn new() -> io::Result<Poller> {
        let epoll = sys::epoll_create()?;
        let event = sys::eventfd()?;
        sys::epoll_add(&epoll, event.as_fd(), WAKER)?;
        let waker = WakerInner { event: event.into(), pending: AtomicBool::new(false) };
        Ok(Poller { epoll, ready: Vec::with_capacity(sys::BATCH), waker: Waker(Arc::new(waker)) })
    }

    /// A waker of this poller.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Waits for `source` as well, until it is closed. `u64::MAX` is not a token.
    pub fn add(&self, source: &impl AsFd, token: Token) -> io::Result<()> {
        sys::epoll_add(&self.epoll, source.as_fd(), token.0)
    }

    /// Waits until something is readable, the waker is used or `timeout` is over; `None` waits
    /// without end. What is ready and not read is reported again next time.
    pub fn wait(&mut self, timeout: Option<Span>) -> io::Result<impl Iterator<Item = Token>> {
        let timeout_ms = timeout.map_or(-1, |span| i32::try_from(span.0).unwrap_or(i32::MAX));
        sys::epoll_wait(&self.epoll, timeout_ms, &mut self.ready)?;
        if self.ready.contains(&WAKER) {
            self.waker.reset();
        }
        Ok(self.ready.iter().filter(|token| **token != WAKER).copied().map(Token))
    }
}

impl Waker {
    /// Ends the present or the next wait.
    pub fn wake(&self) {
        if !self.0.pending.swap(true, Ordering::AcqRel) {
            // It cannot fail: only a count near 2^64 would block, and each is reset before.
            let _ = (&self.0.event).write(&1u64.to_ne_bytes());
        }
    }

    fn reset(&self) {
        let _ = (&self.0.event).read(&mut [0; 8]);
        // After the read: a wake in between is seen by this round, which has yet to look.
        self.0.pending.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waker_ends_a_wait_once() {
        let mut poller = Poller::new().unwrap();
        let waker = poller.waker();
        let thread = std::thread::spawn(move || {
            waker.wake();
            waker.wake();
        });
        assert_eq!(poller.wait(None).unwrap().count(), 0);
        thread.join().unwrap();
        // At most one more wake can be left over from the second call.
        poller.wait(Some(Span::ZERO)).unwrap().for_each(drop);
        poller.waker().wake();
        assert_eq!(poller.wait(None).unwrap().count(), 0);
    }

    #[test]
    fn what_is_not_read_is_reported_again() {
        let mut poller = Poller::new().unwrap();
        let (reader, mut writer) = std::io::pipe().unwrap();
        poller.add(&reader, Token(7)).unwrap();
        assert_eq!(poller.wait(Some(Span::ZERO)).unwrap().next(), None);
        writer.write_all(b"x").unwrap();
        assert_eq!(poller.wait(None).unwrap().next(), Some(Token(7)));
        assert_eq!(poller.wait(None).unwrap().next(), Some(Token(7)));
        drop(reader);
        assert_eq!(poller.wait(Some(Span::ZERO)).unwrap().next(), None);
    }
}
