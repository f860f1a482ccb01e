//! A hosts file of current leases, for a DNS server to read.
//!
//! The file is replaced whole (a new file is renamed over it), so a reader sees the old or the
//! new one and nothing between. Changes are gathered for a moment, then written by a thread of
//! their own: the packet path only notes them. dnsmasq follows the file by itself if its
//! directory is a `hostsdir`; the new file's name begins with a dot, which dnsmasq ignores.
//!
//! Events may be lost on their way here: then the file is made anew from the leases themselves,
//! page by page, and events older than that are not looked at again.
//!
//! A name that several clients claim belongs to the one who has had its lease longest: a new
//! machine cannot take another's name by asking for it.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::base::name::clean_hostname;
use crate::base::{NetworkId, Resource, Timestamp};
use crate::engine::effects::{Event, EventKind};
use crate::lease::{Lease, State};

use super::clock::Clock;

/// How long changes are gathered before the file is written.
const GATHER: Duration = Duration::from_millis(250);

/// The least time between two readings of all leases.
const RESYNC_EVERY: Duration = Duration::from_secs(1);

/// The name that a lease puts into the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    name: Box<str>,
    since: Timestamp,
}

/// Two networks may have the same address.
type Key = (NetworkId, Resource);

/// What changed since the file was written, and when; `None` takes an address out.
type Changes = HashMap<Key, (Timestamp, Option<Named>)>;

/// A part of all leases, as they were at one moment.
#[derive(Debug)]
pub struct Page {
    /// The moment.
    pub at: Timestamp,
    /// Those that put a name into the file.
    pub named: Vec<(Key, Named)>,
    /// Where the next page starts; `None` after the last.
    pub next: Option<u64>,
}

/// Reads a page of all leases, from a position on; `None` if the server cannot answer now.
pub type ReadPage = dyn Fn(u64) -> Option<Page> + Send;

#[derive(Default)]
struct Shared {
    state: Mutex<Inbox>,
    wake: Condvar,
}

#[derive(Default)]
struct Inbox {
    changes: Changes,
    /// Changes were lost: all leases must be read again.
    lost: bool,
    stop: bool,
}

/// The hosts file, kept up to date until this is dropped.
pub struct Hosts {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Hosts {
    /// Writes `path` for these leases. An error of this first write is returned; later ones are
    /// logged, and the write is tried again at the next change.
    pub fn write<'a>(path: &Path, leases: impl Iterator<Item = &'a Lease>) -> io::Result<Written> {
        let mut file = HostsFile { path: path.to_owned(), ..HostsFile::default() };
        file.entries.extend(leases.filter_map(named));
        file.write()?;
        Ok(Written(file))
    }

    /// Notes what an event means for the file.
    pub fn event(&self, event: &Event) {
        let (lease, held) = match &event.kind {
            EventKind::Granted(lease)
            | EventKind::Renewed(lease)
            | EventKind::Adopted(lease)
            | EventKind::Imported(lease) => (lease, true),
            EventKind::Released(lease) | EventKind::Expired(lease) | EventKind::Declined(lease) => {
                (lease, false)
            }
            _ => return,
        };
        let entry = named(lease).filter(|_| held).map(|(_, entry)| entry);
        self.shared.lock().changes.insert(key(lease), (event.at, entry));
        self.shared.wake.notify_one();
    }

    /// Events were lost: the file must be made anew from the leases.
    pub fn lost(&self) {
        self.shared.lock().lost = true;
        self.shared.wake.notify_one();
    }
}

/// A hosts file as it was at start, which nobody keeps up to date yet.
#[derive(Debug)]
pub struct Written(HostsFile);

impl Written {
    /// Starts the thread that keeps the file up to date; `read` is for when events were lost.
    pub fn follow(self, read: Box<ReadPage>) -> io::Result<Hosts> {
        let shared = Arc::new(Shared::default());
        let inbox = shared.clone();
        let thread = std::thread::Builder::new()
            .name("hosts".into())
            .spawn(move || keep(self.0, &inbox, &*read))?;
        Ok(Hosts { shared, thread: Some(thread) })
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
fn keep(mut file: HostsFile, shared: &Shared, read: &ReadPage) {
    let (mut gather, mut lost) = (GATHER, false);
    loop {
        let mut inbox = shared.lock();
        while inbox.changes.is_empty() && !inbox.lost && !inbox.stop && !lost {
            inbox = shared.wake.wait(inbox).unwrap_or_else(PoisonError::into_inner);
        }
        if !inbox.stop {
            let patience = if lost || inbox.lost { gather.max(RESYNC_EVERY) } else { gather };
            inbox = shared
                .wake
                .wait_timeout_while(inbox, patience, |inbox| !inbox.stop)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let stop = inbox.stop;
        lost |= std::mem::take(&mut inbox.lost);
        let changes = std::mem::take(&mut inbox.changes);
        drop(inbox);
        let began = Clock::mark();
        // Whoever could be asked is gone at the end.
        if lost && !stop {
            lost = !file.read_again(read);
        }
        file.stale |= file.apply(changes);
        if file.stale {
            match file.write() {
                Ok(()) => file.stale = false,
                Err(error) => tracing::error!("hosts file {}: {error}", file.path.display()),
            }
        }
        if stop {
            return;
        }
        // A file of a million names takes long; it must not keep a core busy.
        gather = GATHER.max(began.elapsed() * 4);
    }
}

fn key(lease: &Lease) -> Key {
    (lease.network, lease.resource)
}

/// What a lease puts into the file, if anything.
pub fn named(lease: &Lease) -> Option<(Key, Named)> {
    if lease.state != State::Leased {
        return None;
    }
    // Cleaned again: a stored name may be of an older version.
    let name = clean_hostname(lease.details.hostname.as_deref()?.as_bytes())?;
    Some((key(lease), Named { name, since: lease.since }))
}

#[derive(Debug, Default)]
struct HostsFile {
    path: PathBuf,
    entries: BTreeMap<Key, Named>,
    /// When all leases were last read: changes of before are in the entries already.
    read_at: Timestamp,
    /// The file says something else than the entries.
    stale: bool,
}

impl HostsFile {
    /// Whether anything is different now.
    fn apply(&mut self, changes: Changes) -> bool {
        let mut changed = false;
        for (key, (at, entry)) in changes {
            if at < self.read_at {
                continue;
            }
            changed |= match entry {
                Some(entry) => self.entries.insert(key, entry.clone()) != Some(entry),
                None => self.entries.remove(&key).is_some(),
            };
        }
        changed
    }

    /// Takes the entries from all leases; whether that could be done.
    fn read_again(&mut self, read: &ReadPage) -> bool {
        let (mut entries, mut began, mut next) = (BTreeMap::new(), None, Some(0));
        while let Some(from) = next {
            let Some(page) = read(from) else { return false };
            // Later pages are newer: what changed meanwhile is told by events that count again.
            began.get_or_insert(page.at);
            entries.extend(page.named);
            next = page.next;
        }
        self.read_at = began.unwrap_or_default();
        self.stale |= self.entries != entries;
        self.entries = entries;
        true
    }

    fn write(&self) -> io::Result<()> {
        let file_name = self.path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
        let mut unready = std::ffi::OsString::from(".");
        unready.push(file_name);
        unready.push(".new");
        let unready = self.path.with_file_name(unready);
        let file = File::create(&unready)?;
        // Whatever the umask: a DNS server runs as somebody else.
        file.set_permissions(Permissions::from_mode(0o644))?;
        let mut out = BufWriter::new(file);
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
            uses: Default::default(),
            details: Arc::new(Details { hostname: Some(name.into()), ..Details::default() }),
        }
    }

    fn event(kind: EventKind) -> Event {
        Event { at: Timestamp(9), network: None, kind }
    }

    /// A directory of the test's own, gone when dropped.
    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Dir {
            let name = format!("foreshadow-hosts-{name}-{}", std::process::id());
            let dir = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&dir).unwrap();
            Dir(dir)
        }

        fn path(&self) -> PathBuf {
            self.0.join("leases.hosts")
        }

        fn lines(&self) -> Vec<String> {
            let text = std::fs::read_to_string(self.path()).unwrap();
            text.lines().skip(1).map(String::from).collect()
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    /// A hosts file of a server that cannot be asked.
    fn start(dir: &Dir, leases: &[Lease]) -> Hosts {
        Hosts::write(&dir.path(), leases.iter()).unwrap().follow(Box::new(|_| None)).unwrap()
    }

    #[test]
    fn the_file_follows_the_leases() {
        let dir = Dir::new("follow");
        let lines = || dir.lines();
        let hosts = start(&dir, &[lease(1, "web", 5), lease(2, "bad name\n0.0.0.0 bank", 5)]);
        assert_eq!(lines(), ["10.0.0.1 web", "10.0.0.2 bad-name0.0.0.0-bank"]);

        hosts.event(&event(EventKind::Granted(Box::new(lease(3, "db", 7)))));
        hosts.event(&event(EventKind::Granted(Box::new(lease(4, "web", 8)))));
        hosts.event(&event(EventKind::Renewed(Box::new(lease(1, "web", 5)))));
        drop(hosts);
        let named: Vec<_> = lines().into_iter().filter(|line| !line.contains("bank")).collect();
        assert_eq!(named, ["10.0.0.1 web", "10.0.0.3 db"], "a name stays with its first owner");

        let hosts = start(&dir, &[lease(1, "web", 5), lease(3, "db", 7), lease(4, "web", 8)]);
        hosts.event(&event(EventKind::Released(Box::new(lease(1, "web", 5)))));
        drop(hosts);
        assert_eq!(lines(), ["10.0.0.3 db", "10.0.0.4 web"]);
        assert_eq!(std::fs::read_dir(&dir.0).unwrap().count(), 1, "no temporary file stays");
    }

    /// Some events never came, and one that is older than the reading comes after it.
    /// Hostile-input list: a lease whose text fields hold separators and newlines.
    #[test]
    fn a_stored_name_is_cleaned_again() {
        let name = |text| named(&lease(1, text, 1)).map(|(_, named)| named.name);
        assert_eq!(name("web\n127.0.0.1 bank").as_deref(), Some("web127.0.0.1-bank"));
        assert_eq!(name("\n"), None);
    }

    #[test]
    fn lost_events_are_made_good_from_the_leases() {
        let dir = Dir::new("lost");
        let (asked, when) = std::sync::mpsc::channel();
        let read = move |from| {
            let page = |last, next| Page {
                at: Timestamp(20 + u64::from(last)),
                named: named(&lease(last, &format!("vm-{last}"), 5)).into_iter().collect(),
                next,
            };
            asked.send(from).unwrap();
            Some(if from == 0 { page(2, Some(7)) } else { page(3, None) })
        };
        let hosts = Hosts::write(&dir.path(), [lease(1, "gone", 5)].iter()).unwrap();
        let hosts = hosts.follow(Box::new(read)).unwrap();
        hosts.lost();
        let deadline = Duration::from_secs(60);
        assert_eq!(when.recv_timeout(deadline), Ok(0));
        assert_eq!(when.recv_timeout(deadline), Ok(7));
        let told = |at, last| Event {
            at: Timestamp(at),
            ..event(EventKind::Granted(Box::new(lease(last, "late", 5))))
        };
        hosts.event(&told(21, 4));
        hosts.event(&told(22, 5));
        drop(hosts);
        assert_eq!(dir.lines(), ["10.0.0.2 vm-2", "10.0.0.3 vm-3", "10.0.0.5 late"]);
    }

    #[test]
    fn a_server_that_cannot_be_asked_is_asked_again() {
        let dir = Dir::new("again");
        let (asked, when) = std::sync::mpsc::channel();
        let read = move |from| {
            asked.send(from).unwrap();
            None
        };
        let hosts = Hosts::write(&dir.path(), [lease(1, "web", 5)].iter()).unwrap();
        let hosts = hosts.follow(Box::new(read)).unwrap();
        hosts.lost();
        for _ in 0..2 {
            assert_eq!(when.recv_timeout(Duration::from_secs(60)), Ok(0));
        }
        drop(hosts);
        assert_eq!(dir.lines(), ["10.0.0.1 web"], "what is known stays");
    }

    #[test]
    fn a_place_that_cannot_be_written_is_an_error_at_start() {
        let refused = Hosts::write(Path::new("/proc/nonexistent/hosts"), [].iter());
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
