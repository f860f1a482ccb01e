//! What systemd is told: ready, reloading, stopping, alive (sd_notify(3)).
//!
//! The protocol is one datagram of `KEY=value` lines to the socket that `NOTIFY_SOCKET` names;
//! with the standard library's sockets that is less than a dependency would be.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::base::Span;

/// The service manager, if there is one.
#[derive(Debug, Default)]
pub struct Notify {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Span>,
}

impl Notify {
    /// The service manager that started this process. Without one every call does nothing.
    pub fn from_env() -> Notify {
        let watchdog = || {
            let for_us = env::var("WATCHDOG_PID").ok().and_then(|pid| pid.parse().ok());
            if for_us.is_some_and(|pid: u32| pid != std::process::id()) {
                return None;
            }
            env::var("WATCHDOG_USEC").ok()?.parse().ok()
        };
        match env::var_os("NOTIFY_SOCKET") {
            Some(path) => Notify::to(path, watchdog()).unwrap_or_else(|error| {
                tracing::warn!("NOTIFY_SOCKET: {error}; the service manager learns nothing");
                Notify::default()
            }),
            None => Notify::default(),
        }
    }

    /// `watchdog_us`: after how many silent microseconds the manager gives this process up.
    fn to(path: OsString, watchdog_us: Option<u64>) -> io::Result<Notify> {
        let address = match path.as_bytes().split_first() {
            Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(&path)?,
        };
        let watchdog = watchdog_us.filter(|us| *us > 0).map(|us| Span::from_ms(us / 2000));
        Ok(Notify { to: Some((UnixDatagram::unbound()?, address)), watchdog })
    }

    /// How often [`Notify::alive`] is due: twice in the time that the manager allows.
    pub fn watchdog_every(&self) -> Option<Span> {
        self.watchdog
    }

    /// Everything is bound and loaded; `status` is a line for people.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// A reload begins; [`Notify::ready`] ends it.
    pub fn reloading(&self) {
        self.send("RELOADING=1\nSTATUS=reading the configuration again");
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=stopping");
    }

    /// What is going on, in a line for people.
    pub fn status(&self, status: &str) {
        self.send(&format!("STATUS={}", one_line(status)));
    }

    /// The loop that answers packets is turning.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, text: &str) {
        if let Some((socket, address)) = &self.to
            && let Err(error) = socket.send_to_addr(text.as_bytes(), address)
        {
            tracing::debug!("notify: {error}");
        }
    }
}

/// A second line would be another message.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_hears_each_word() {
        let name = format!("foreshadow-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let notify = Notify::to(format!("@{name}").into(), Some(30_000_000)).unwrap();
        assert_eq!(notify.watchdog_every(), Some(Span::from_secs(15)));
        notify.ready("2 networks\nREADY=0");
        notify.reloading();
        notify.alive();
        notify.stopping();
        for want in [
            "READY=1\nSTATUS=2 networks READY=0",
            "RELOADING=1\nSTATUS=reading the configuration again",
            "WATCHDOG=1",
            "STOPPING=1\nSTATUS=stopping",
        ] {
            let mut heard = [0; 200];
            let length = manager.recv(&mut heard).unwrap();
            assert_eq!(std::str::from_utf8(&heard[..length]), Ok(want));
        }
    }

    #[test]
    fn without_a_manager_nothing_happens() {
        let notify = Notify::default();
        notify.ready("");
        notify.alive();
        assert_eq!(notify.watchdog_every(), None);
    }
}
