//! What the log says: one line for each lease event, and a bounded number about bad packets.
//!
//! Lines go to standard error. Under systemd (`JOURNAL_STREAM`) they carry a priority and no time
//! or colour of their own: the journal adds those. What clients send is written as escaped
//! values, never as text of the line.
//!
//! Filter targets: `foreshadow::lease` (grants, renewals, releases, ...), `foreshadow::offer`
//! (offers, at debug), `foreshadow::packet` (what was dropped), and the modules' own paths.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use tracing::{Level, Subscriber, debug, info, warn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::base::{HwAddr, NetworkId, Timestamp};
use crate::config::Policy;
use crate::config::policy::LogPolicy;
use crate::engine::effects::{DropReason, Event, EventKind, Offered, Overheard, Said};
use crate::engine::relocate::plan::PoolPlan;
use crate::engine::standbys::news::StandbyNews;
use crate::lease::Lease;
use crate::lease::directory::{Instance, Standby};

use super::lines::Lines;

const LEASE: &str = "foreshadow::lease";
const OFFER: &str = "foreshadow::offer";
pub(super) const PACKET: &str = "foreshadow::packet";

/// The log of this process.
#[derive(Clone, Debug)]
pub struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl Log {
    /// Starts logging. Once in a process; on error what is wrong with the filter.
    pub fn start(policy: &LogPolicy) -> Result<Log, String> {
        let (filter, handle) = reload::Layer::new(parse(&policy.filter)?);
        let lines = tracing_subscriber::fmt::layer().with_writer(Lines);
        let journal = writes_to_journal();
        let registry = tracing_subscriber::registry().with(filter);
        let started = match (policy.json, journal) {
            (true, false) => registry.with(lines.json().flatten_event(true)).try_init(),
            (false, false) => {
                let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
                registry.with(lines.with_ansi(colour).with_target(false)).try_init()
            }
            (true, true) => {
                let lines = lines.json().flatten_event(true).with_ansi(false);
                registry.with(lines.map_event_format(Prioritised)).try_init()
            }
            (false, true) => {
                let lines = lines.with_ansi(false).with_target(false).with_level(false);
                registry.with(lines.without_time().map_event_format(Prioritised)).try_init()
            }
        };
        started.map_err(|error| error.to_string())?;
        Ok(Log { filter: handle })
    }

    /// Puts the filter of a new policy in force.
    pub fn set_policy(&self, policy: &LogPolicy) -> Result<(), String> {
        let filter = parse(&policy.filter)?;
        self.filter.reload(filter).map_err(|error| error.to_string())
    }
}

fn parse(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(filter).map_err(|error| format!("log.level is `{filter}`: {error}"))
}

/// Whether standard error is the journal's stream (systemd.exec(5), `JOURNAL_STREAM`).
fn writes_to_journal() -> bool {
    let Some(stream) = std::env::var("JOURNAL_STREAM").ok() else { return false };
    let Ok(stderr) = std::fs::metadata("/proc/self/fd/2") else { return false };
    stream == format!("{}:{}", stderr.dev(), stderr.ino())
}

/// Puts a syslog priority in front of each line, as the journal reads it (sd-daemon(3)).
struct Prioritised<F>(F);

impl<S, N, F> FormatEvent<S, N> for Prioritised<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> fmt::Result {
        write!(writer, "<{}>", priority(*event.metadata().level()))?;
        self.0.format_event(context, writer, event)
    }
}

/// syslog(3): error 3, warning 4, informational 6, debug 7.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// Whether the log has lines for offers.
pub fn tells_offers() -> bool {
    tracing::enabled!(target: OFFER, Level::DEBUG)
}

/// Turns the engine's events into lines.
#[derive(Debug)]
pub struct EventLog {
    names: BTreeMap<NetworkId, Arc<str>>,
    observing: bool,
    limit: Limit,
    leases: Limit,
}

impl EventLog {
    /// A log of events for this policy. When `observing`, nothing that it says was sent.
    pub fn new(policy: &Policy, observing: bool) -> EventLog {
        let names = BTreeMap::new();
        let (limit, leases) = (Limit::new(0), Limit::new(0));
        let mut log = EventLog { names, observing, limit, leases };
        log.set_policy(policy);
        log
    }

    /// Follows a reload.
    pub fn set_policy(&mut self, policy: &Policy) {
        self.names = policy.networks.iter().map(|n| (n.id, n.name.clone())).collect();
        self.limit.per_s = policy.log.bad_packets_per_s;
        self.leases.per_s = policy.log.leases_per_s;
    }

    /// Writes the line of one event; `took` is the time since the packet behind it came in.
    pub fn event(&mut self, event: &Event, took: Duration) {
        self.tick(event.at);
        if is_of_lease(&event.kind)
            && !(tracing::enabled!(target: LEASE, Level::INFO) && self.leases.admit())
        {
            return;
        }
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let network = event.network.and_then(|id| self.names.get(&id)).map(|name| &**name);
        match &event.kind {
            EventKind::Offered(offered) => self.offered(offered, network, took_us),
            EventKind::Overheard(heard) => self.overheard(heard, network),
            EventKind::Granted(lease)
            | EventKind::Renewed(lease)
            | EventKind::Adopted(lease)
            | EventKind::Imported(lease)
            | EventKind::Released(lease)
            | EventKind::Expired(lease)
            | EventKind::Declined(lease)
            | EventKind::Draining(lease)
            | EventKind::Spared(lease) => {
                let (done, would) = words(&event.kind);
                self.lease(done, would, lease, network, took_us);
            }
            EventKind::Informed(hw, addr) => {
                debug!(target: LEASE, address = %addr, client = %hw, network, took_us, "informed");
            }
            EventKind::Clone(..)
            | EventKind::InUse(..)
            | EventKind::Proxy(_)
            | EventKind::ForeignServer(..)
                if !self.limit.admit() => {}
            EventKind::Clone(lease, hw) => {
                let address = lease.resource;
                warn!(target: LEASE, %address, holder = %lease.hw, client = %hw, network,
                    "two live machines send one client identifier");
            }
            EventKind::InUse(address, mac) => {
                warn!(target: LEASE, %address, mac = %mac, network, "in use by a stranger: quarantined");
            }
            EventKind::Proxy(mac) => {
                warn!(target: LEASE, mac = %mac, network, "one machine answers for many addresses");
            }
            EventKind::ForeignServer(server, mac) => {
                let mac = mac.map(tracing::field::display);
                warn!(target: LEASE, server = %server, mac, network, "another DHCP server answers");
            }
            EventKind::Nak(hw, address, reason) => {
                if self.limit.admit() {
                    let message = if self.observing { "would refuse" } else { "refused" };
                    info!(target: LEASE, %address, client = %hw, ?reason, network, took_us, "{message}");
                }
            }
            EventKind::Short(plan) => short(plan, network),
            EventKind::Exhausted(hw) => {
                if self.limit.admit() {
                    warn!(target: LEASE, client = %hw, network, "no address or prefix is free");
                }
            }
            EventKind::Limited(_) | EventKind::Registered(_) | EventKind::Ended(_) => {
                of_account(&mut self.limit, &event.kind, network);
            }
            EventKind::Standby(news, of) => standby(&mut self.limit, *news, of, network),
            EventKind::Dropped(reason, hw) => {
                dropped(&mut self.limit, *reason, hw.as_ref(), network);
            }
        }
    }

    /// Says how many lines were held back, once the second is over. Call it now and then.
    pub fn tick(&mut self, now: Timestamp) {
        match self.limit.turn(now) {
            0 => {}
            count => warn!(target: PACKET, count, "more packets were dropped or refused"),
        }
        match self.leases.turn(now) {
            0 => {}
            count => info!(target: LEASE, count, "more leases changed than are told one by one"),
        }
    }

    fn offered(&self, offered: &Offered, network: Option<&str>, took_us: u64) {
        let (address, client, proven) = (offered.offer.resource, offered.offer.hw, offered.proven);
        if self.observing {
            info!(target: OFFER, %address, %client, proven, network, took_us, "would offer");
        } else {
            debug!(target: OFFER, %address, %client, proven, network, took_us, "offered");
        }
    }

    fn overheard(&self, heard: &Overheard, network: Option<&str>) {
        let Overheard { server, said, hw, resource } = heard;
        let said = match said {
            Said::Offered => "another server offered",
            Said::Leased => "another server leased",
            Said::Refused => "another server refused",
        };
        let address = resource.map(tracing::field::display);
        if self.observing {
            info!(target: OFFER, address, client = %hw, server = %server, network, "{said}");
        } else {
            debug!(target: OFFER, address, client = %hw, server = %server, network, "{said}");
        }
    }

    fn lease(
        &self,
        done: &'static str,
        observed: &'static str,
        lease: &Lease,
        network: Option<&str>,
        took_us: u64,
    ) {
        let message = if self.observing { observed } else { done };
        let details = &lease.details;
        info!(
            target: LEASE,
            address = %lease.resource,
            client = %lease.hw,
            id = %lease.client,
            network,
            account = details.account.as_deref(),
            hostname = details.hostname.as_deref(),
            took_us,
            "{message}"
        );
    }
}

/// What concerns accounts and their instances.
fn of_account(limit: &mut Limit, kind: &EventKind, network: Option<&str>) {
    match kind {
        EventKind::Limited(met) if limit.admit() => {
            warn!(target: LEASE, network, "{met}: requests beyond it are not answered");
        }
        EventKind::Registered(of) => of_instance("instance registered", of, network),
        EventKind::Ended(of) => of_instance("instance ended", of, network),
        _ => {}
    }
}

/// What became of a standby; alarms come from guests, and so are limited.
fn standby(limit: &mut Limit, news: StandbyNews, of: &Standby, network: Option<&str>) {
    let (id, state, epoch, news_text) = (&*of.id, of.state.as_str(), of.epoch, news.as_str());
    let address = of.resources.first().map(tracing::field::display);
    if !news.is_alarm() {
        info!(target: LEASE, standby = id, network, state, epoch, address, "standby {news_text}");
    } else if limit.admit() {
        let mac = match news {
            StandbyNews::Answered(mac) => Some(tracing::field::display(mac)),
            _ => None,
        };
        warn!(target: LEASE, standby = id, network, state, epoch, address, mac,
            "standby {news_text}: somebody speaks for its address who should not");
    }
}

fn of_instance(done: &'static str, instance: &Instance, network: Option<&str>) {
    let kept = &instance.kept;
    info!(
        target: LEASE,
        instance = &*instance.id,
        network,
        account = kept.settings.account.as_deref(),
        address = kept.v4.map(tracing::field::display),
        address6 = kept.v6.first().map(tracing::field::display),
        "{done}"
    );
}

/// What happened to a lease, and what would have.
fn words(kind: &EventKind) -> (&'static str, &'static str) {
    match kind {
        EventKind::Granted(_) => ("leased", "would lease"),
        EventKind::Renewed(_) => ("renewed", "would renew"),
        EventKind::Adopted(_) => ("adopted", "would adopt"),
        EventKind::Imported(_) => ("imported", "imported"),
        EventKind::Released(_) => ("released", "released"),
        EventKind::Expired(_) => ("expired", "expired"),
        EventKind::Draining(_) => ("to be moved", "to be moved"),
        EventKind::Spared(_) => ("stays", "stays"),
        _ => ("declined", "declined"),
    }
}

/// What has a line for each lease.
fn is_of_lease(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::Granted(_)
            | EventKind::Renewed(_)
            | EventKind::Adopted(_)
            | EventKind::Imported(_)
            | EventKind::Released(_)
            | EventKind::Expired(_)
            | EventKind::Declined(_)
            | EventKind::Draining(_)
            | EventKind::Spared(_)
            | EventKind::Registered(_)
            | EventKind::Ended(_)
    )
}

fn short(plan: &PoolPlan, network: Option<&str>) {
    let PoolPlan { first, lacking, draining, frozen, .. } = plan;
    let (pool, moves) = (first, plan.moves().count());
    info!(target: LEASE, %pool, lacking, draining, moves, frozen, network,
        "a pool is too short for its hot tier");
}

fn dropped(limit: &mut Limit, reason: DropReason, hw: Option<&HwAddr>, network: Option<&str>) {
    let client = hw.map(tracing::field::display);
    let ordinary = ORDINARY.contains(&reason);
    let reason = reason.as_str();
    if ordinary {
        // Lines that nobody wants are not counted as held back.
        if tracing::enabled!(target: PACKET, Level::DEBUG) && limit.admit() {
            debug!(target: PACKET, reason, client, network, "packet not answered");
        }
    } else if limit.admit() {
        warn!(target: PACKET, reason, client, network, "packet dropped");
    }
}

/// Silence that the RFC asks for on a healthy network.
const ORDINARY: [DropReason; 5] = [
    DropReason::OtherServer,
    DropReason::UnknownClient,
    DropReason::Bootp,
    DropReason::Denied,
    DropReason::NotARequest,
];

/// At most so many lines a second; the rest are counted.
#[derive(Debug)]
struct Limit {
    per_s: u32,
    second: u64,
    said: u32,
    held_back: u64,
}

impl Limit {
    fn new(per_s: u32) -> Limit {
        Limit { per_s, second: 0, said: 0, held_back: 0 }
    }

    /// Whether one more line may be written now.
    fn admit(&mut self) -> bool {
        let admitted = self.said < self.per_s;
        if admitted {
            self.said += 1;
        } else {
            self.held_back += 1;
        }
        admitted
    }

    /// Begins a new second; what the last one held back.
    fn turn(&mut self, now: Timestamp) -> u64 {
        if now.secs() == self.second {
            return 0;
        }
        (self.second, self.said) = (now.secs(), 0);
        std::mem::take(&mut self.held_back)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::Ipv4Addr;
    use std::sync::Mutex;

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;
    use crate::base::{ClientKey, Mac};
    use crate::engine::effects::NakReason;
    use crate::lease::{Details, State};

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Page {
        type Writer = Page;
        fn make_writer(&'a self) -> Page {
            self.clone()
        }
    }

    /// The lines that `work` logs, as the journal gets them.
    fn lines(filter: &str, work: impl FnOnce(&mut EventLog)) -> Vec<String> {
        let page = Page::default();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(page.clone())
            .with_ansi(false)
            .with_target(false)
            .with_level(false)
            .without_time()
            .map_event_format(Prioritised);
        let subscriber = tracing_subscriber::registry().with(parse(filter).unwrap()).with(layer);
        let names = BTreeMap::from([(NetworkId::of("vms"), Arc::from("vms"))]);
        let mut log =
            EventLog { names, observing: false, limit: Limit::new(2), leases: Limit::new(3) };
        tracing::subscriber::with_default(subscriber, || work(&mut log));
        let bytes = page.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(String::from).collect()
    }

    fn at(secs: u64, kind: EventKind) -> Event {
        Event { at: Timestamp::from_secs(secs), network: Some(NetworkId::of("vms")), kind }
    }

    fn hw() -> HwAddr {
        HwAddr::ethernet(Mac([0x52, 0x54, 0, 0, 0, 1]))
    }

    fn granted(hostname: &str) -> EventKind {
        EventKind::Granted(Box::new(Lease {
            network: NetworkId::of("vms"),
            resource: Ipv4Addr::new(10, 0, 0, 5).into(),
            client: ClientKey::hardware(&hw()),
            hw: hw(),
            state: State::Leased,
            since: Timestamp(0),
            updated: Timestamp(0),
            until: Timestamp::NEVER,
            port: None,
            uses: Default::default(),
            details: Arc::new(Details {
                hostname: Some(hostname.into()),
                account: Some("acme".into()),
                ..Details::default()
            }),
        }))
    }

    #[test]
    fn a_grant_is_one_line_that_says_it_all() {
        let said = lines("info", |log| {
            log.event(&at(1, granted("vm-1")), Duration::from_micros(140));
        });
        assert_eq!(
            said,
            ["<6>leased address=10.0.0.5 client=52:54:00:00:00:01 id=hw:01:52:54:00:00:00:01 \
              network=\"vms\" account=\"acme\" hostname=\"vm-1\" took_us=140"]
        );
    }

    #[test]
    fn what_would_have_been_said_is_told_as_such() {
        let said = lines("info", |log| {
            log.observing = true;
            log.event(&at(1, granted("vm-1")), Duration::ZERO);
            log.event(
                &at(1, EventKind::Nak(hw(), Ipv4Addr::new(10, 0, 0, 9), NakReason::Taken)),
                Duration::ZERO,
            );
        });
        assert!(said[0].starts_with("<6>would lease address=10.0.0.5"), "{said:?}");
        assert!(said[1].starts_with("<6>would refuse address=10.0.0.9"), "{said:?}");
    }

    #[test]
    fn a_client_that_gets_nothing_may_have_asked_for_a_prefix() {
        let said = lines("info", |log| {
            log.event(&at(1, EventKind::Exhausted(hw())), Duration::ZERO);
        });
        let want = "<4>no address or prefix is free client=52:54:00:00:00:01 network=\"vms\"";
        assert_eq!(said, [want]);
    }

    #[test]
    fn names_cannot_make_lines_of_their_own() {
        let said = lines("info", |log| {
            log.event(&at(1, granted("a\n<0>panic\u{1b}[2J")), Duration::ZERO);
        });
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(!said[0].contains('\u{1b}'), "{said:?}");
    }

    #[test]
    fn bad_packets_are_limited_and_counted() {
        let bad = |secs| at(secs, EventKind::Dropped(DropReason::Malformed, None));
        let quiet = |secs| at(secs, EventKind::Dropped(DropReason::OtherServer, None));
        let said = lines("info", |log| {
            for _ in 0..10 {
                log.event(&bad(7), Duration::ZERO);
                log.event(&quiet(7), Duration::ZERO);
            }
            log.tick(Timestamp::from_secs(7));
            log.tick(Timestamp::from_secs(8));
            log.event(&bad(9), Duration::ZERO);
        });
        let dropped = "<4>packet dropped reason=\"malformed\" network=\"vms\"";
        let more = "<4>more packets were dropped or refused count=8";
        assert_eq!(said, [dropped, dropped, more, dropped]);
    }

    #[test]
    fn leases_are_limited_and_counted() {
        let said = lines("info", |log| {
            (0..10).for_each(|_| log.event(&at(7, granted("vm-1")), Duration::ZERO));
            log.event(&at(8, granted("vm-2")), Duration::ZERO);
        });
        let named: Vec<bool> = said.iter().map(|line| line.contains("hostname=")).collect();
        assert_eq!(named, [true, true, true, false, true]);
        assert_eq!(said[3], "<6>more leases changed than are told one by one count=7");
        let quiet = lines("warn", |log| {
            (0..10).for_each(|_| log.event(&at(7, granted("vm-1")), Duration::ZERO));
            log.tick(Timestamp::from_secs(8));
        });
        assert!(quiet.is_empty(), "{quiet:?}");
    }

    #[test]
    fn a_wrong_filter_is_named() {
        let error = parse("foreshadow=lots=of").unwrap_err();
        assert!(error.starts_with("log.level is `foreshadow=lots=of`: "), "{error}");
    }
}
