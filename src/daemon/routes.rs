//! Routes of this host to delegated prefixes, where `install_route` asks for them.
//!
//! A thread of its own keeps the kernel's table in step with three things: which prefixes are
//! leased, which of them the policy wants routed, and which interfaces are served. The packet path
//! only notes what changed, after it is durable. Routes stay when the server stops: clients go on
//! meanwhile.
//!
//! Events may be lost on their way here: then the leases are read anew, page by page, and events
//! older than that are not looked at again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::api::command::LEASES_PER_LOOK;
use crate::base::{LinkId, NetworkId, Prefix6, Resource, Timestamp};
use crate::config::Policy;
use crate::engine::Engine;
use crate::engine::effects::{Event, EventKind};
use crate::lease::{Lease, NextHop, State};

use super::clock::Clock;
use super::counters::Counters;
use super::route_table::{Kept, Table, Target};
use super::work::Jobs;

/// How long changes are gathered before the table is changed.
const GATHER: Duration = Duration::from_millis(50);
/// The least time between two readings of all leases.
const RESYNC_EVERY: Duration = Duration::from_secs(1);
/// How often the interfaces are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a thread without routes sleeps; whatever concerns it wakes it.
const IDLE: Duration = Duration::from_secs(3600);

/// A delegated prefix. Two networks may have the same one.
pub type Key = (NetworkId, Ipv6Addr, u8);

/// What changed, and when; `None` where nobody has the prefix, or no router of it is known.
type Changes = HashMap<Key, (Timestamp, Option<NextHop>)>;

/// Some of the leases, as they were at one moment.
#[derive(Debug)]
pub struct Page {
    /// The moment.
    pub at: Timestamp,
    /// Delegated prefixes with their routers.
    pub held: Vec<(Key, NextHop)>,
    /// Prefixes whose last change is not durable yet: an event will tell of it.
    pub pending: Vec<Key>,
    /// Where the next page starts; `None` after the last.
    pub next: Option<u64>,
}

/// The interfaces that are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Links {
    /// Another number after each change.
    pub changes: u64,
    /// Names and indexes.
    pub served: Vec<(Arc<str>, LinkId)>,
}

/// Whoever knows leases and interfaces; `None` if it cannot answer now.
pub trait Ask: Send {
    /// The leases from a position on.
    fn page(&self, from: u64) -> Option<Page>;
    /// The interfaces.
    fn links(&self) -> Option<Links>;
}

impl Ask for Jobs<Engine> {
    fn page(&self, from: u64) -> Option<Page> {
        let page = self.call(move |bench| {
            let table = bench.machine.leases();
            let (mut held, mut pending) = (Vec::new(), Vec::new());
            let next = table.scan(from, LEASES_PER_LOOK, |lease| match key(lease) {
                Some(key) if table.is_pending(lease.network, lease.resource) => pending.push(key),
                Some(key) => held.extend(next_hop(lease).map(|hop| (key, hop))),
                None => {}
            });
            Page { at: bench.now, held, pending, next }
        });
        page.ok()
    }

    fn links(&self) -> Option<Links> {
        let links = self.call(|bench| Links {
            changes: bench.machine.link_changes(),
            served: bench.machine.links().map(|up| (up.name.clone(), up.link)).collect(),
        });
        links.ok()
    }
}

/// The prefixes that were delegated when the server started.
#[derive(Debug, Default)]
pub struct Delegated(BTreeMap<Key, NextHop>);

impl Delegated {
    /// Those among `leases`, all of which are durable.
    pub fn among<'a>(leases: impl Iterator<Item = &'a Lease>) -> Delegated {
        Delegated(leases.filter_map(|lease| key(lease).zip(next_hop(lease))).collect())
    }

    /// Starts the thread that keeps the routes.
    pub fn follow(
        self,
        policy: Arc<Policy>,
        table: Box<dyn Table>,
        ask: Box<dyn Ask>,
        counters: Arc<Counters>,
    ) -> io::Result<Routes> {
        let shared = Arc::new(Shared::default());
        let inbox = shared.clone();
        let keeper = Keeper::new(self.0, policy, Kept::new(table, counters), ask);
        let thread =
            std::thread::Builder::new().name("routes".into()).spawn(move || keeper.run(&inbox))?;
        Ok(Routes { shared, thread: Some(thread) })
    }
}

/// The routes, kept up to date until this is dropped.
pub struct Routes {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Routes {
    /// Notes what an event means for the routes.
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
        let Some(key) = key(lease) else { return };
        let hop = next_hop(lease).filter(|_| held);
        self.shared.lock().changes.insert(key, (event.at, hop));
        self.shared.wake.notify_one();
    }

    /// Events were lost: the leases must be read again.
    pub fn lost(&self) {
        self.shared.lock().lost = true;
        self.shared.wake.notify_one();
    }

    /// Another policy is in force.
    pub fn set_policy(&self, policy: Arc<Policy>) {
        self.shared.lock().policy = Some(policy);
        self.shared.wake.notify_one();
    }
}

impl Drop for Routes {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<Inbox>,
    wake: Condvar,
}

#[derive(Default)]
struct Inbox {
    changes: Changes,
    policy: Option<Arc<Policy>>,
    lost: bool,
    stop: bool,
}

impl Inbox {
    fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.policy.is_none() && !self.lost && !self.stop
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is to do: waits for it for `patience` at most, then gathers more of it.
    fn wait(&self, patience: Duration, gather: Duration) -> Inbox {
        let (inbox, _) = self
            .wake
            .wait_timeout_while(self.lock(), patience, |inbox| inbox.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        let gather = if inbox.lost { gather.max(RESYNC_EVERY) } else { gather };
        let (mut inbox, _) = self
            .wake
            .wait_timeout_while(inbox, gather, |inbox| !inbox.stop)
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *inbox)
    }
}

/// The delegated prefix that a lease is about.
fn key(lease: &Lease) -> Option<Key> {
    match lease.resource {
        Resource::Prefix6(addr, len) => Some((lease.network, addr, len)),
        Resource::V4(_) | Resource::V6(_) => None,
    }
}

/// The router of a prefix that is leased.
fn next_hop(lease: &Lease) -> Option<NextHop> {
    lease.details.next_hop.clone().filter(|_| lease.state == State::Leased)
}

/// The state of the thread.
struct Keeper {
    policy: Arc<Policy>,
    table: Kept,
    ask: Box<dyn Ask>,
    held: BTreeMap<Key, NextHop>,
    /// When all leases were last read: changes of before are in `held` already.
    read_at: Timestamp,
    /// But not those of these prefixes.
    pending: HashSet<Key>,
    lost: bool,
    links: Option<Links>,
}

impl Keeper {
    fn new(
        held: BTreeMap<Key, NextHop>,
        policy: Arc<Policy>,
        table: Kept,
        ask: Box<dyn Ask>,
    ) -> Keeper {
        Keeper {
            policy,
            table,
            ask,
            held,
            read_at: Timestamp(0),
            pending: HashSet::new(),
            lost: false,
            links: None,
        }
    }

    fn run(mut self, shared: &Shared) {
        self.step(Inbox::default());
        let mut gather = GATHER;
        loop {
            let patience = if self.is_busy() { LOOK_EVERY } else { IDLE };
            let told = shared.wait(patience, gather);
            if told.stop {
                return;
            }
            let began = Clock::mark();
            self.step(told);
            // A table of a million prefixes takes long; it must not keep a core busy.
            gather = GATHER.max(began.elapsed() * 4);
        }
    }

    /// Whether there is anything to look after.
    fn is_busy(&self) -> bool {
        let wanted = self.policy.routed().next().is_some();
        wanted || self.lost || self.table.is_busy()
    }

    fn step(&mut self, told: Inbox) {
        if let Some(policy) = told.policy {
            self.policy = policy;
            self.table.look_again();
        }
        self.lost |= told.lost;
        if self.lost {
            self.lost = !self.read_again();
        }
        self.apply(told.changes);
        if !self.is_busy() {
            return;
        }
        let links = self.ask.links();
        if links.is_some() && links != self.links {
            // The kernel forgets the routes of an interface that goes down.
            self.links = links;
            self.table.look_again();
        }
        // Without the interfaces, every route would seem to be one too many.
        if self.links.is_some() {
            self.table.settle(&self.desired());
        }
    }

    fn apply(&mut self, changes: Changes) {
        for (key, (at, hop)) in changes {
            if at < self.read_at && !self.pending.contains(&key) {
                continue;
            }
            match hop {
                Some(hop) => self.held.insert(key, hop),
                None => self.held.remove(&key),
            };
        }
    }

    /// Takes the prefixes from all leases; whether that could be done.
    fn read_again(&mut self) -> bool {
        let (mut held, mut pending) = (BTreeMap::new(), HashSet::new());
        let (mut began, mut next) = (None, Some(0));
        while let Some(from) = next {
            let Some(page) = self.ask.page(from) else { return false };
            // Later pages are newer: what changed meanwhile is told by events that count again.
            began.get_or_insert(page.at);
            held.extend(page.held);
            pending.extend(page.pending);
            next = page.next;
        }
        // What is durable of these is what was known before.
        let known = |key: &Key| self.held.get_key_value(key).map(|(k, hop)| (*k, hop.clone()));
        held.extend(pending.iter().filter_map(known));
        self.read_at = began.unwrap_or_default();
        (self.held, self.pending) = (held, pending);
        true
    }

    /// The routes that there should be.
    fn desired(&self) -> BTreeMap<Target, SocketAddrV6> {
        let mut desired = BTreeMap::new();
        for ((network, addr, len), hop) in &self.held {
            let routed = |prefix| self.policy.routes_to(*network, prefix);
            if let Some(via) = self.via(hop)
                && Prefix6::new(*addr, *len).is_some_and(routed)
            {
                desired.entry((*addr, *len)).or_insert(via);
            }
        }
        desired
    }

    /// A next hop by the interfaces that there are now; `None` if its own is not there.
    fn via(&self, hop: &NextHop) -> Option<SocketAddrV6> {
        let index = match &hop.link {
            Some(name) => {
                let mut served = self.links.iter().flat_map(|links| &links.served);
                served.find(|(served, _)| **served == **name)?.1.0
            }
            // Each link has such addresses of its own.
            None if hop.addr.is_unicast_link_local() => return None,
            None => 0,
        };
        Some(SocketAddrV6::new(hop.addr, 0, 0, index))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};

    use super::*;
    use crate::base::{ClientKey, HwAddr};
    use crate::config;
    use crate::lease::Details;
    use crate::net::Route6;

    /// Before the table is read again without a reason, which would hide that there was one.
    const DEADLINE: Duration = Duration::from_secs(30);

    fn policy(install: bool) -> Arc<Policy> {
        let text = format!(
            "[[network]]\nname = \"lan\"\ninterfaces = \"br0\"\n\
             [[network.subnet]]\nprefix = \"2001:db8:1::/64\"\n\
             [[network.subnet.delegation]]\nprefix = \"2001:db8:8000::/40\"\nlength = 56\n\
             install_route = {install}\n\
             [[network.subnet.delegation]]\nprefix = \"2001:db8:9000::/40\"\nlength = 56\n"
        );
        Arc::new(config::check(&text, "test").unwrap().policy)
    }

    fn lease(prefix: &str, hop: &str) -> Lease {
        Lease {
            network: NetworkId::of("lan"),
            resource: Resource::Prefix6(prefix.parse().unwrap(), 56),
            client: ClientKey::ia_pd(b"duid", 1),
            hw: HwAddr::default(),
            state: State::Leased,
            since: Timestamp(1),
            updated: Timestamp(1),
            until: Timestamp::NEVER,
            port: None,
            uses: Default::default(),
            details: Arc::new(Details { next_hop: hop.parse().ok(), ..Details::default() }),
        }
    }

    fn told(at: u64, kind: fn(Box<Lease>) -> EventKind, lease: &Lease) -> Event {
        Event { at: Timestamp(at), network: None, kind: kind(Box::new(lease.clone())) }
    }

    /// A table that says what is done to it.
    struct Fake {
        found: Vec<Route6>,
        refuse: Arc<Mutex<bool>>,
        done: Sender<String>,
    }

    impl Fake {
        fn does(&self, what: String) -> io::Result<()> {
            let refuse = *self.refuse.lock().unwrap();
            let said = if refuse { format!("refused: {what}") } else { what };
            self.done.send(said).unwrap();
            if refuse { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
        }
    }

    impl Table for Fake {
        fn list(&self) -> io::Result<Vec<Route6>> {
            Ok(self.found.clone())
        }

        fn add(&self, route: &Route6) -> io::Result<()> {
            self.does(format!("add {}/{} {}", route.prefix, route.len, route.via))
        }

        fn remove(&self, prefix: Ipv6Addr, len: u8) -> io::Result<()> {
            self.does(format!("remove {prefix}/{len}"))
        }
    }

    #[derive(Default)]
    struct Known {
        links: Option<Links>,
        pages: Vec<Page>,
    }

    impl Ask for Arc<Mutex<Known>> {
        fn page(&self, from: u64) -> Option<Page> {
            assert_eq!(from, 0);
            self.lock().unwrap().pages.pop()
        }

        fn links(&self) -> Option<Links> {
            self.lock().unwrap().links.clone()
        }
    }

    fn links(changes: u64, served: &[(&str, u32)]) -> Option<Links> {
        let served = served.iter().map(|(name, id)| (Arc::from(*name), LinkId(*id))).collect();
        Some(Links { changes, served })
    }

    struct Rig {
        routes: Option<Routes>,
        known: Arc<Mutex<Known>>,
        refuse: Arc<Mutex<bool>>,
        counters: Arc<Counters>,
        done: Receiver<String>,
    }

    impl Rig {
        fn start(install: bool, leases: &[Lease], found: &[Route6]) -> Rig {
            let (sender, done) = mpsc::channel();
            let (refuse, counters) = (Arc::default(), Arc::new(Counters::default()));
            let known = Known { links: links(1, &[("br0", 7)]), pages: Vec::new() };
            let known = Arc::new(Mutex::new(known));
            let table = Fake { found: found.to_vec(), refuse: Arc::clone(&refuse), done: sender };
            let routes = Delegated::among(leases.iter())
                .follow(
                    policy(install),
                    Box::new(table),
                    Box::new(known.clone()),
                    Arc::clone(&counters),
                )
                .unwrap();
            Rig { routes: Some(routes), known, refuse, counters, done }
        }

        fn routes(&self) -> &Routes {
            self.routes.as_ref().unwrap()
        }

        fn next(&self) -> String {
            self.done.recv_timeout(DEADLINE).unwrap()
        }

        /// Ends the thread; nothing else was done.
        fn end(mut self) {
            self.routes = None;
            assert_eq!(self.done.try_recv().ok(), None);
        }
    }

    const A: &str = "2001:db8:8000:100::";
    const B: &str = "2001:db8:8000:200::";

    fn found(prefix: &str, via: &str, link: u32) -> Route6 {
        Route6::new(prefix.parse().unwrap(), 56, via.parse().unwrap(), LinkId(link))
    }

    /// Of what the kernel has at start the leased stays, the moved is led elsewhere, the rest goes.
    #[test]
    fn the_table_is_set_right_at_start_and_stays_at_the_end() {
        let gone = Lease { state: State::Released, ..lease("2001:db8:8000:500::", "fe80::5%br0") };
        let elsewhere = lease("2001:db8:9000::", "fe80::1%br0");
        let leases = [
            lease(A, "fe80::1%br0"),
            lease(B, "fe80::2%br0"),
            lease("2001:db8:8000:300::", "2001:db8:1::5"),
            gone,
            elsewhere,
        ];
        let there = [
            found(A, "fe80::1", 7),
            found(B, "fe80::2", 3),
            found("2001:db8:8000:300::", "2001:db8:1::5", 9),
            found("2001:db8:8000:500::", "fe80::5", 7),
        ];
        let rig = Rig::start(true, &leases, &there);
        assert_eq!(rig.next(), "remove 2001:db8:8000:500::/56");
        assert_eq!(rig.next(), format!("add {B}/56 [fe80::2%7]:0"));
        rig.end();
    }

    #[test]
    fn routes_follow_leases_and_the_policy() {
        let rig = Rig::start(false, &[lease(A, "fe80::1%br0")], &[]);
        rig.routes().set_policy(policy(true));
        assert_eq!(rig.next(), format!("add {A}/56 [fe80::1%7]:0"));
        rig.routes().event(&told(5, EventKind::Granted, &lease(B, "2001:db8:1::9")));
        assert_eq!(rig.next(), format!("add {B}/56 [2001:db8:1::9]:0"));
        rig.routes().event(&told(6, EventKind::Renewed, &lease(B, "2001:db8:1::a")));
        assert_eq!(rig.next(), format!("add {B}/56 [2001:db8:1::a]:0"));
        for (at, kind) in [
            (7, EventKind::Released as fn(Box<Lease>) -> EventKind),
            (9, EventKind::Expired),
            (11, EventKind::Declined),
        ] {
            rig.routes().event(&told(at, kind, &lease(B, "fe80::2%br0")));
            assert_eq!(rig.next(), format!("remove {B}/56"));
            rig.routes().event(&told(at + 1, EventKind::Granted, &lease(B, "fe80::2%br0")));
            assert_eq!(rig.next(), format!("add {B}/56 [fe80::2%7]:0"));
        }
        rig.routes().event(&told(13, EventKind::Released, &lease(B, "fe80::2%br0")));
        assert_eq!(rig.next(), format!("remove {B}/56"));
        assert_eq!(rig.counters.routes_installed.get(), 6);
        rig.end();
    }

    /// Another policy has the kernel's table read again, which in this test is always empty: what
    /// is missing there comes back, and what nobody wants any more goes.
    #[test]
    fn what_the_policy_no_longer_wants_goes() {
        let rig = Rig::start(true, &[lease(A, "fe80::1%br0")], &[found(A, "fe80::1", 7)]);
        rig.routes().set_policy(policy(false));
        assert_eq!(rig.next(), format!("remove {A}/56"));
        rig.end();
    }

    #[test]
    fn an_interface_that_comes_back_has_its_routes_again() {
        let rig = Rig::start(true, &[lease(A, "fe80::1%br0"), lease(B, "fe80::2%br9")], &[]);
        assert_eq!(rig.next(), format!("add {A}/56 [fe80::1%7]:0"));
        // It went and came between two looks: the kernel forgot its route.
        rig.known.lock().unwrap().links = links(2, &[("br0", 7)]);
        assert_eq!(rig.next(), format!("add {A}/56 [fe80::1%7]:0"));
        rig.known.lock().unwrap().links = links(3, &[("br9", 8), ("br0", 9)]);
        assert_eq!(rig.next(), format!("add {A}/56 [fe80::1%9]:0"));
        assert_eq!(rig.next(), format!("add {B}/56 [fe80::2%8]:0"));
        rig.end();
    }

    #[test]
    fn what_the_kernel_refuses_is_counted_and_tried_again() {
        let rig = Rig::start(true, &[], &[]);
        *rig.refuse.lock().unwrap() = true;
        rig.routes().event(&told(5, EventKind::Granted, &lease(A, "fe80::1%br0")));
        let add = format!("add {A}/56 [fe80::1%7]:0");
        assert_eq!(rig.next(), format!("refused: {add}"));
        // Other changes do not have it tried at once.
        rig.routes().event(&told(6, EventKind::Granted, &lease(B, "fe80::2%br0")));
        assert_eq!(rig.next(), format!("refused: add {B}/56 [fe80::2%7]:0"));
        *rig.refuse.lock().unwrap() = false;
        assert_eq!(rig.next(), add);
        assert_eq!(rig.next(), format!("add {B}/56 [fe80::2%7]:0"));
        assert_eq!(rig.counters.routes_failed.get(), 2);
        rig.end();
    }

    /// Of a prefix whose change is under way nothing is known but what was durable before, and
    /// what its event says, though that is older than the reading.
    #[test]
    fn lost_events_are_made_good_from_the_leases() {
        let rig = Rig::start(true, &[lease(A, "fe80::1%br0")], &[]);
        assert_eq!(rig.next(), format!("add {A}/56 [fe80::1%7]:0"));
        let of = |prefix| key(&lease(prefix, "")).unwrap();
        rig.known.lock().unwrap().pages.push(Page {
            at: Timestamp(20),
            held: vec![(of(B), "fe80::2%br0".parse().unwrap())],
            pending: vec![of(A), of("2001:db8:8000:300::")],
            next: None,
        });
        rig.routes().lost();
        assert_eq!(rig.next(), format!("add {B}/56 [fe80::2%7]:0"));
        rig.routes().event(&told(19, EventKind::Released, &lease(B, "fe80::2%br0")));
        rig.routes().event(&told(19, EventKind::Granted, &lease(A, "fe80::6%br0")));
        assert_eq!(rig.next(), format!("add {A}/56 [fe80::6%7]:0"));
        rig.end();
    }
}
