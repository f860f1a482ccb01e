//! A hosts file of current leases, for a DNS server to read.
//!
//! The file is replaced whole (a new file is renamed over it), so a reader sees the old or the
//! new one and nothing between. Changes are gathered for a moment, then written by a thread of
//! their own: the packet path only notes them. dnsmasq follows the file by itself if its
//! directory is a `hostsdir`; the new file's name begins with a dot, which dnsmasq ignores.
//!
//! A name that several clients claim belongs to the one who has had its lease longest: a new
//! machine cannot take another's name by asking for it.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::base::{NetworkId, Resource, Timestamp};
use crate::engine::effects::{Event, EventKind};
use crate::import::hostname;
use crate::lease::{Lease, State};

/// How long changes are gathered before the file is written.
const GATHER: Duration = Duration::from_millis(250);

/// One address and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: Box<str>,
    since: Timestamp,
}

/// What changed since the file was written; `None` takes an address out.
type Changes = HashMap<Key, Option<Entry>>;

/// Two networks may have the same address.
type Key = (NetworkId, Resource);

#[derive(Default)]
struct Shared {
    state: Mutex<Inbox>,
    wake: Condvar,
}

#[derive(Default)]
struct Inbox {
    changes: Changes,
    stop: bool,
}

/// The hosts file, kept up to date until this is dropped.
pub struct Hosts {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Hosts {
    /// Keeps `path` up to date, from these leases on. An error of the first write is returned;
    /// later ones are logged, and tried again at the next change.
    pub fn start<'a>(path: &Path, leases: impl Iterator<Item = &'a Lease>) -> io::Result<Hosts> {
        let mut file = HostsFile { path: path.to_owned(), entries: BTreeMap::new(), stale: false };
        for lease in leases.filter(|lease| lease.state == State::Leased) {
            file.entries.extend(entry(lease).map(|entry| (key(lease), entry)));
        }
        file.write()?;
        let shared = Arc::new(Shared::default());
        let inbox = shared.clone();
        let thread =
            std::thread::Builder::new().name("hosts".into()).spawn(move || keep(file, &inbox))?;
        Ok(Hosts { shared, thread: Some(thread) })
    }

    /// Notes what an event means for the file.
    pub fn event(&self, event: &Event) {
        let (lease, held) = match &event.kind {
            EventKind::Granted(lease) | EventKind::Renewed(lease) | EventKind::Adopted(lease) => {
                (lease, true)
            }
            EventKind::Released(lease) | EventKind::Expired(lease) | EventKind::Declined(lease) => {
                (lease, false)
            }
            _ => return,
        };
        let entry = if held { entry(lease) } else { None };
        self.shared.lock().changes.insert(key(lease), entry);
        self.shared.wake.notify_one();
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that writes: waits for a change, gathers more, writes; at the end once more.
fn keep(mut file: HostsFile, shared: &Shared) {
    loop {
        let mut inbox = shared.lock();
        while inbox.changes.is_empty() && !inbox.stop {
            inbox = shared.wake.wait(inbox).unwrap_or_else(PoisonError::into_inner);
        }
        if !inbox.stop {
            inbox = shared
                .wake
                .wait_timeout_while(inbox, GATHER, |inbox| !inbox.stop)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let stop = inbox.stop;
        let changes = std::mem::take(&mut inbox.changes);
        drop(inbox);
        file.stale |= file.apply(changes);
        if file.stale {
            match file.write() {
                Ok(()) => file.stale = false,
                Err(error) => tracing::error!("hosts file: {error}"),
            }
        }
        if stop {
            return;
        }
    }
}

fn key(lease: &Lease) -> Key {
    (lease.network, lease.resource)
}

/// The name that a lease puts into the file.
fn entry(lease: &Lease) -> Option<Entry> {
    // Checked again: a stored name may come from an import or an older version.
    let name = hostname(lease.details.hostname.as_deref()?)?;
    Some(Entry { name, since: lease.since })
}

struct HostsFile {
    path: PathBuf,
    entries: BTreeMap<Key, Entry>,
    /// The file says something else than the entries.
    stale: bool,
}

impl HostsFile {
    /// Whether anything is different now.
    fn apply(&mut self, changes: Changes) -> bool {
        let mut changed = false;
        for (key, entry) in changes {
            changed |= match entry {
                Some(entry) => self.entries.insert(key, entry.clone()) != Some(entry),
                None => self.entries.remove(&key).is_some(),
            };
        }
        changed
    }

    fn write(&self) -> io::Result<()> {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", self.path.display()))
        };
        self.replace().map_err(named)
    }

    fn replace(&self) -> io::Result<()> {
        let file_name = self.path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
        let mut unready = std::ffi::OsString::from(".");
        unready.push(file_name);
        unready.push(".new");
        let unready = self.path.with_file_name(unready);
        let mut out = BufWriter::new(File::create(&unready)?);
        self.render(&mut out)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?;
        std::fs::rename(&unready, &self.path)
    }

    fn render(&self, out: &mut impl Write) -> io::Result<()> {
        let mut owners: HashMap<&str, (Timestamp, Key)> = HashMap::new();
        for (key, entry) in &self.entries {
            let claim = (entry.since, *key);
            let owner = owners.entry(&entry.name).or_insert(claim);
            *owner = claim.min(*owner);
        }
        writeln!(out, "# Leases of foreshadow. Written anew at every change.")?;
        for (key, entry) in &self.entries {
            if owners.get(&*entry.name).is_some_and(|(_, owner)| owner == key) {
                writeln!(out, "{} {}", key.1, entry.name)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::base::{ClientKey, HwAddr};
    use crate::lease::Details;

    fn lease(last: u8, name: &str, since: u64) -> Lease {
        let hw = HwAddr::new(1, &[2, 0, 0, 0, 0, last]).unwrap();
        Lease {
            network: NetworkId::of("vms"),
            resource: Ipv4Addr::new(10, 0, 0, last).into(),
            client: ClientKey::hardware(&hw),
            hw,
            state: State::Leased,
            since: Timestamp(since),
            updated: Timestamp(since),
            until: Timestamp::NEVER,
            port: None,
            details: Arc::new(Details { hostname: Some(name.into()), ..Details::default() }),
        }
    }

    fn event(kind: EventKind) -> Event {
        Event { at: Timestamp(9), network: None, kind }
    }

    #[test]
    fn the_file_follows_the_leases() {
        let dir = std::env::temp_dir().join(format!("foreshadow-hosts-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("leases.hosts");
        let lines = || {
            let text = std::fs::read_to_string(&path).unwrap();
            text.lines().skip(1).map(String::from).collect::<Vec<_>>()
        };
        let at_start = [lease(1, "web", 5), lease(2, "bad name\n0.0.0.0 bank", 5)];
        let hosts = Hosts::start(&path, at_start.iter()).unwrap();
        assert_eq!(lines(), ["10.0.0.1 web"]);

        hosts.event(&event(EventKind::Granted(Box::new(lease(3, "db", 7)))));
        hosts.event(&event(EventKind::Granted(Box::new(lease(4, "web", 8)))));
        hosts.event(&event(EventKind::Renewed(Box::new(lease(1, "web", 5)))));
        drop(hosts);
        assert_eq!(lines(), ["10.0.0.1 web", "10.0.0.3 db"], "a name stays with its first owner");

        let all = [lease(1, "web", 5), lease(3, "db", 7), lease(4, "web", 8)];
        let hosts = Hosts::start(&path, all.iter()).unwrap();
        hosts.event(&event(EventKind::Released(Box::new(lease(1, "web", 5)))));
        drop(hosts);
        assert_eq!(lines(), ["10.0.0.3 db", "10.0.0.4 web"]);
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "no temporary file stays");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_place_that_cannot_be_written_is_an_error_at_start() {
        let refused = Hosts::start(Path::new("/proc/nonexistent/hosts"), [].iter());
        assert!(refused.err().unwrap().to_string().contains("/proc/nonexistent/hosts"));
    }
}
