//! The kernel's side of the gate.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use socket2::SockRef;

use super::message::{Answer, HEADERS, Writer, answers, attributes, flag, kind};
use super::rules::{Key, Rules};
use super::ruleset::{self, Set, TABLE};

/// What the kernel answers that refuses a message, or acknowledges it with 0.
const ERROR: u16 = 2;
/// The end of a listing.
const DONE: u16 = 3;
/// The kernel answers at once; it never takes this long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// A transaction is read at once: one of 10,000 addresses has some 400 KiB.
const BUFFER_BYTES: usize = 8 << 20;
/// Waits before another listing is asked what a first one lacked: while a set's table in the kernel
/// grows, which it does a while after its elements came, a listing can lack some that are there.
const LISTED_AGAIN_MS: [u64; 4] = [1, 5, 25, 125];
/// Longest datagram of a listing.
const DATAGRAM_BYTES: usize = 64 << 10;

/// Why the gate is not as it should be. The kernel made all of a change or nothing.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// What the change began from is not what the kernel has: install the rules anew.
    #[error("the kernel has other rules than were made")]
    Astray,
    /// It has no right to.
    #[error("netfilter: no permission, want CAP_NET_ADMIN")]
    NotPermitted,
    /// The kernel has no such rules.
    #[error("netfilter: the kernel lacks nf_tables for bridges (CONFIG_NF_TABLES_BRIDGE): {0}")]
    Unsupported(io::Error),
    /// Anything else.
    #[error("netfilter: {0}")]
    Io(#[from] io::Error),
}

impl GateError {
    fn of(error: io::Error) -> GateError {
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::EEXIST) => GateError::Astray,
            Some(libc::EPERM | libc::EACCES) => GateError::NotPermitted,
            Some(libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT) => {
                GateError::Unsupported(error)
            }
            _ => GateError::Io(error),
        }
    }
}

/// Rules in the kernel of this network namespace, and what they are.
pub struct Gate {
    socket: Socket,
    buffer: Vec<u8>,
    rules: Rules,
}

impl Gate {
    /// Puts rules in the place of those that an earlier run left: at no moment are there none.
    pub fn install(rules: Rules) -> Result<Gate, GateError> {
        let mut socket = Socket::new(NETLINK_NETFILTER).map_err(GateError::of)?;
        SockRef::from(&socket).set_read_timeout(Some(ANSWER_TIMEOUT))?;
        super::super::raw::set_buffers(&SockRef::from(&socket), BUFFER_BYTES)?;
        socket.bind_auto()?;
        let mut gate = Gate { socket, buffer: vec![0; DATAGRAM_BYTES], rules };
        gate.install_anew()?;
        Ok(gate)
    }

    /// Makes the whole table again, with the rules that are known.
    pub fn install_anew(&mut self) -> Result<(), GateError> {
        self.transact(ruleset::install(&self.rules))
    }

    /// The rules that are in force.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Brings others into force, in one transaction of what differs. After [`GateError::Astray`] the
    /// old ones are known yet.
    pub fn apply(&mut self, rules: Rules) -> Result<(), GateError> {
        if rules.dhcp_per_s != self.rules.dhcp_per_s {
            self.transact(ruleset::install(&rules))?;
        } else if let Some(change) = rules.change_from(&self.rules) {
            self.transact(change)?;
        }
        self.rules = rules;
        Ok(())
    }

    /// Takes away what is in `gone`, then adds what is in `new`, in one transaction that costs as
    /// much as they have. Their limits do not count. If the kernel has other rules than were made,
    /// or refuses, the whole table is made again; after an error the new rules are known, and are
    /// brought about by the next [`Gate::install_anew`].
    pub fn alter(&mut self, gone: &Rules, new: &Rules) -> Result<(), GateError> {
        let Some(change) = self.rules.alter(gone, new) else { return Ok(()) };
        match self.transact(change) {
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::error!(%error, "a change of the gate failed: made anew");
                self.install_anew()
            }
        }
    }

    /// Sets how many messages to DHCP servers a guarded port may send in a second.
    pub fn limit(&mut self, dhcp_per_s: Option<u32>) -> Result<(), GateError> {
        if self.rules.dhcp_per_s == dhcp_per_s {
            return Ok(());
        }
        self.rules.dhcp_per_s = dhcp_per_s;
        self.install_anew()
    }

    /// Whether the kernel has the elements that it should have: somebody else may have changed them.
    /// Takes 0.2 s if they did.
    pub fn is_in_force(&mut self) -> Result<bool, GateError> {
        let mut in_force = self.is_listed()?;
        for wait in LISTED_AGAIN_MS {
            if in_force {
                break;
            }
            std::thread::sleep(Duration::from_millis(wait));
            in_force = self.is_listed()?;
        }
        Ok(in_force)
    }

    fn is_listed(&mut self) -> Result<bool, GateError> {
        for set in Set::ALL.into_iter().filter(|set| *set != Set::Asked) {
            match self.list(set) {
                Ok(found) if found == self.rules.elements(set) => {}
                Ok(_) => return Ok(false),
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(false),
                Err(e) => return Err(GateError::of(e)),
            }
        }
        Ok(true)
    }

    /// Takes the table away.
    pub fn remove(mut self) -> Result<(), GateError> {
        let mut writer = Writer::transaction();
        writer.message(kind::NEW_TABLE, flag::CREATE, |w| {
            w.name(1, TABLE);
        });
        writer.message(kind::DEL_TABLE, 0, |w| {
            w.name(1, TABLE);
        });
        self.transact(writer)
    }

    /// Sends a transaction and waits until the kernel made it or refused.
    fn transact(&mut self, writer: Writer) -> Result<(), GateError> {
        let (bytes, last) = writer.commit();
        self.send(&bytes).map_err(GateError::of)?;
        loop {
            let mut heard = None;
            self.receive(|answer| {
                if answer.kind == ERROR && heard.is_none() {
                    let code = answer.body.first_chunk().map_or(0, |b| i32::from_ne_bytes(*b));
                    heard = match code {
                        0 => (answer.number == last).then_some(Ok(())),
                        code => Some(Err(io::Error::from_raw_os_error(-code))),
                    };
                }
            })
            .map_err(GateError::of)?;
            if let Some(done) = heard {
                return done.map_err(GateError::of);
            }
        }
    }

    /// The elements of a set.
    fn list(&mut self, set: Set) -> io::Result<BTreeSet<Key>> {
        let mut writer = Writer::default();
        writer.message(kind::GET_ELEMENT, flag::DUMP, |w| {
            w.name(1, TABLE).name(2, set.name());
        });
        self.send(&writer.into_bytes())?;
        let (mut found, mut done) = (BTreeSet::new(), None);
        while done.is_none() {
            self.receive(|answer| match answer.kind {
                DONE => done = Some(Ok(())),
                ERROR => {
                    let code = answer.body.first_chunk().map_or(0, |b| i32::from_ne_bytes(*b));
                    done = Some(match code {
                        0 => Ok(()),
                        code => Err(io::Error::from_raw_os_error(-code)),
                    });
                }
                _ => found.extend(keys(answer.body)),
            })?;
        }
        done.unwrap_or(Ok(())).map(|()| found)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        // What an earlier request was refused with after it was given up is no answer to this one.
        while self.socket.recv(&mut &mut self.buffer[..], libc::MSG_DONTWAIT).is_ok() {}
        self.socket.send_to(bytes, &SocketAddr::new(0, 0), 0).map(drop)
    }

    fn receive(&mut self, each: impl FnMut(Answer<'_>)) -> io::Result<()> {
        let len = self.socket.recv(&mut &mut self.buffer[..], 0)?;
        answers(self.buffer.get(..len).unwrap_or_default()).for_each(each);
        Ok(())
    }
}

/// The keys in a part of a listing.
fn keys(body: &[u8]) -> Vec<Key> {
    let of = |bytes, kind: u16| attributes(bytes).find(move |(k, _)| *k == kind).map(|(_, v)| v);
    let elements = body.get(HEADERS - 16..).and_then(|body| of(body, 3)).unwrap_or_default();
    let key = |element| of(of(element, 1)?, 1).map(<[u8]>::to_vec);
    attributes(elements).filter_map(|(_, element)| key(element)).collect()
}
