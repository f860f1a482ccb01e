//! A timer among the descriptors of a poller, finer than the milliseconds that it waits in.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// Becomes readable when its time has come (`timerfd_create(2)`), and stays so until it is set
/// again.
#[derive(Debug)]
pub(super) struct Timer(OwnedFd);

impl Timer {
    pub(super) fn new() -> io::Result<Timer> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Timer(timerfd_create(TimerfdClockId::Monotonic, flags)?))
    }

    /// Sets it to go off once, so long from now; never, if that is `None`.
    pub(super) fn set(&self, after: Option<Duration>) -> io::Result<()> {
        const NEVER: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = match after {
            None => NEVER,
            // All zero would disarm it.
            Some(Duration::ZERO) => Timespec { tv_sec: 0, tv_nsec: 1 },
            Some(after) => Timespec {
                tv_sec: after.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: after.subsec_nanos().into(),
            },
        };
        let spec = Itimerspec { it_interval: NEVER, it_value: value };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &spec)?;
        Ok(())
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Poller, Token};
    use super::*;
    use crate::base::Span;

    #[test]
    fn a_timer_goes_off_and_is_set_again() {
        let (mut poller, timer) = (Poller::new().unwrap(), Timer::new().unwrap());
        poller.add(&timer, Token(1)).unwrap();
        for after in [Duration::ZERO, Duration::from_micros(300)] {
            timer.set(Some(after)).unwrap();
            assert_eq!(poller.wait(None).unwrap().next(), Some(Token(1)));
        }
        timer.set(Some(Duration::from_secs(3600))).unwrap();
        assert_eq!(poller.wait(Some(Span::ZERO)).unwrap().next(), None);
        timer.set(None).unwrap();
        assert_eq!(poller.wait(Some(Span::ZERO)).unwrap().next(), None);
    }
}
