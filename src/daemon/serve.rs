//! From a checked configuration to a running server, and to its orderly end.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::api::command::{LEASES_PER_LOOK, Post, Reload};
use crate::api::findings::Findings;
use crate::api::live::{self, Live};
use crate::api::metrics::Metrics;
use crate::api::peer::Peer;
use crate::api::scrape::{BoundScrape, Scrape};
use crate::api::server::{Bound, Hub, Server};
use crate::base::Timestamp;
use crate::config::{self, Policy};
use crate::engine::Engine;
use crate::net::{Mode, RouteTable};
use crate::store::archive::{Archive, ArchiveOptions};
use crate::store::disk::Disk;
use crate::store::{Contents, DiskStore, Recovery, Store, StoreError, StoreOptions};

use super::clock::Clock;
use super::desk::Counter;
use super::driver::{Driver, DriverHandle, Setup};
use super::forecaster::Forecaster;
use super::guard;
use super::hosts::{self, Hosts, Written};
use super::identity::Identity;
use super::log::{EventLog, Log};
use super::metrics::Meter;
use super::notify::Notify;
use super::privilege;
use super::reconcile::Reconciler;
use super::reload::{Follow, Load, Loaded, Reloader};
use super::reports::Reports;
use super::routes::Delegated;
use super::switch::{self, Reach};
use super::teller::{NewPolicy, Teller};
use super::upkeep::Upkeep;
use super::weigh::Weigher;
use super::work::Jobs;

/// Gulps of events that may wait for the log; more are counted and lost.
const EVENTS_MAX: usize = 32;
/// How often the main thread looks after the others where no watchdog asks for more.
const WATCH: Duration = Duration::from_secs(1);

/// What `serve` was asked to do.
#[derive(Clone, Debug)]
pub struct Serve {
    /// The configuration file, for reloads.
    pub config: PathBuf,
    /// Answer nothing; log what would have been said.
    pub observe: bool,
    /// Start although the store is damaged.
    pub recover: bool,
}

/// Runs the server until a signal ends it.
pub fn run(serve: &Serve, policy: Arc<Policy>, warnings: &str) -> anyhow::Result<()> {
    let log = Log::start(&policy.log).map_err(anyhow::Error::msg)?;
    for line in warnings.lines() {
        tracing::warn!("{line}");
    }
    let notify = Notify::from_env();
    let signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).context("signals")?;
    if let Some(missing) = privilege::missing() {
        anyhow::bail!("{missing}");
    }
    // An observer changes nothing, and so needs nothing for it.
    if let Some(missing) = privilege::missing_for_routes(&policy).filter(|_| !serve.observe) {
        anyhow::bail!("{}: {missing}", serve.config.display());
    }
    privilege::drop_privileges().context("giving up privileges")?;
    let mut socket = bind(&policy.server.control_socket)?;
    listen(&mut socket, &policy)?;
    let scrape = policy.metrics.listen.map(|addr| listen_for_scrapers(serve, addr)).transpose()?;
    let (store, contents) = open_store(serve, &policy)?;
    let mut server = Running::start(serve, policy, log, (socket, scrape), store, contents)?;
    notify.ready("serving");
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");
    let outcome = server.watch(signals, &notify);
    notify.stopping();
    outcome.and(server.stop())
}

/// `[store]` as the store wants it.
pub fn store_options(policy: &Policy) -> StoreOptions {
    StoreOptions {
        journal_bytes: policy.store.journal_bytes,
        checkpoint_every: policy.store.checkpoint_every,
        cache_bytes: policy.store.cache_bytes,
    }
}

/// `[audit]` as the store wants it.
pub fn archive_options(policy: &Policy) -> ArchiveOptions {
    ArchiveOptions {
        keep: policy.audit.keep,
        max_bytes: policy.audit.max_bytes,
        ..ArchiveOptions::at(&archive_dir(policy))
    }
}

/// Where the audit records are.
pub fn archive_dir(policy: &Policy) -> PathBuf {
    policy.server.state_dir.join("audit")
}

/// Where the store lives.
pub fn store_dir(policy: &Policy) -> PathBuf {
    policy.server.state_dir.join("store")
}

/// Makes the state directory if it is not there: not for others to read.
pub fn create_state_dir(dir: &Path) -> io::Result<()> {
    dir.parent().map_or(Ok(()), std::fs::create_dir_all)?;
    match std::fs::DirBuilder::new().mode(0o750).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        made => made,
    }
}

/// The control socket comes before all else: a server that runs already must not be disturbed.
fn bind(socket: &Path) -> anyhow::Result<Bound> {
    let refused = |error: io::Error| {
        anyhow::anyhow!(privilege::explain_path("control_socket", socket, &error))
    };
    if let Some(parent) = socket.parent() {
        std::fs::create_dir_all(parent).map_err(refused)?;
    }
    Bound::new(socket).map_err(refused)
}

fn listen_for_scrapers(serve: &Serve, addr: SocketAddr) -> anyhow::Result<BoundScrape> {
    BoundScrape::new(addr)
        .with_context(|| format!("{}: metrics.listen: {addr}", serve.config.display()))
}

/// And TCP, where configured.
fn listen(socket: &mut Bound, policy: &Policy) -> anyhow::Result<()> {
    socket.set_limits(policy.api.limits);
    for addr in &policy.api.listen {
        socket.listen(*addr).with_context(|| format!("api.listen {addr}"))?;
        let tls = if policy.api.tls.is_some() { "TLS" } else { "no TLS, loopback alone" };
        tracing::info!(%addr, tls, "api");
    }
    Ok(())
}

/// The store's facts by name.
type Facts = BTreeMap<Box<str>, Box<[u8]>>;

type Opened = (Option<DiskStore>, Contents);

fn open_store(serve: &Serve, policy: &Policy) -> anyhow::Result<Opened> {
    if serve.observe {
        return Ok((None, Contents::default()));
    }
    let dir = &policy.server.state_dir;
    let refused = |error: &io::Error| privilege::explain_path("state_dir", dir, error);
    create_state_dir(dir).map_err(|error| anyhow::anyhow!(refused(&error)))?;
    let options = store_options(policy);
    let (disk, audit) = (Disk::default(), archive_options(policy));
    let opened = DiskStore::open_archived(disk, &store_dir(policy), &options, audit, serve.recover);
    let (store, contents, recovery) = opened.map_err(|error| match &error {
        StoreError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            anyhow::anyhow!(refused(source))
        }
        StoreError::Locked { path } => {
            anyhow::anyhow!("{}: another server, or a command, has this store open", path.display())
        }
        _ => error.into(),
    })?;
    tell(&recovery, contents.leases.len());
    if let Some(why) = store.archive().and_then(|archive| archive.status().trouble) {
        tracing::error!("the audit archive cannot be written, its journals grow: {why}");
    }
    Ok((Some(store), contents))
}

fn tell(recovery: &Recovery, bindings: usize) {
    let (batch, replayed) = (recovery.seq.0, recovery.replayed);
    tracing::info!(bindings, batch, replayed, "store opened");
    if let Some((path, offset)) = &recovery.torn {
        let path = path.display();
        tracing::warn!(
            %path,
            offset,
            "the last batch is incomplete or damaged and was dropped; it was not acknowledged \
             if the server was cut off while writing it"
        );
    }
    if let Some(from) = recovery.upgraded_from {
        tracing::info!(from, "store upgraded from an older format");
    }
    for loss in &recovery.lost {
        tracing::error!("could not be read: {loss}");
    }
    if let Some(kept) = &recovery.kept {
        tracing::warn!(path = %kept.display(), "the damaged files are kept");
    }
}

struct Running {
    control: Server,
    scrape: Option<Scrape>,
    reports: Arc<Reports>,
    reloader: Arc<Reloader>,
    driver: DriverHandle<Engine>,
    teller: std::thread::JoinHandle<()>,
    upkeep: Upkeep,
}

/// The part of a running server that answers packets, before there is anything beside it.
struct Base {
    policy: Arc<Policy>,
    driver: DriverHandle<Engine>,
    teller: std::thread::JoinHandle<()>,
    reports: Arc<Reports>,
    archive: Option<Archive>,
    live: Arc<Live>,
    post: Arc<dyn Post>,
    new_policy: NewPolicy,
    reach: Arc<Reach>,
    started: Timestamp,
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Base {
    /// Starts what is beside the packets: the API, metrics, upkeep.
    fn serve(
        self,
        serve: &Serve,
        log: Log,
        socket: Bound,
        scrape: Option<BoundScrape>,
    ) -> anyhow::Result<Running> {
        let Base { policy, driver, teller, reports, archive, live, post, new_policy, .. } = self;
        let (started, now) = (self.started, self.now);
        let reader = || {
            let now = now.clone();
            move || now()
        };
        let follow = changes(log, new_policy, live.clone(), reports.clone());
        let reloader = reloader(serve, &policy, post.clone(), follow);
        let (told, findings) = ((reports.told(), archive.clone()), Arc::new(Findings::default()));
        let seer = Forecaster::start(serve.observe, &policy, driver.jobs(), reader());
        let boards = (findings.clone(), seer.board());
        let meter = Meter::new(driver.counters(), told, boards, started, Box::new(reader()));
        let metrics = Arc::new(Metrics::new(post.clone(), Box::new(meter)));
        let scrape = scrape.map(|bound| bound.serve(metrics.clone())).transpose()?;
        let (telemetry, scrapes) = (reports.telemetry(), reports.scrapes());
        let weigher = Weigher::new(telemetry.clone(), post.clone(), reader());
        let reconciler = Reconciler::new(driver.jobs(), now.clone(), findings.clone());
        let upkeep = Upkeep::new(archive.clone(), reader(), weigher, (reconciler, seer));
        let control = socket.serve(Hub {
            post,
            reload: reloader.clone(),
            archive,
            metrics,
            now: Box::new(reader()),
            live,
            telemetry,
            scrapes,
            findings,
            hosts: Arc::new(switch::Agents(self.reach)),
        })?;
        Ok(Running { control, scrape, reports, reloader, driver, teller, upkeep })
    }
}

impl Running {
    fn start(
        serve: &Serve,
        policy: Arc<Policy>,
        log: Log,
        (socket, scrape): (Bound, Option<BoundScrape>),
        store: Option<DiskStore>,
        contents: Contents,
    ) -> anyhow::Result<Running> {
        let (store, archive) = with_archive(store);
        let clock = Clock::start(&contents.meta, &contents.leases);
        let (started, then, now) = (clock.now(), clock.reader(), Arc::new(clock.reader()));
        let reports = Reports::start(archive.clone(), &policy, clock.reader());
        let hosts = write_hosts(serve, &policy, &contents)?;
        let delegated = Delegated::among(contents.leases.iter());
        let (events, heard) = mpsc::sync_channel(EVENTS_MAX);
        let mode = if serve.observe { Mode::Observe } else { Mode::Serve };
        let identity = Identity::of(&contents.meta, &policy).context("a DUID for this server")?;
        let live = believed(&policy, &contents.meta)?;
        let last = contents.seq;
        let (machine, meta) = identity.engine(&policy, mode, contents)?;
        let driver = Driver::start(Setup {
            machine,
            policy: policy.clone(),
            mode,
            store,
            meta: identity.noted(meta),
            last,
            clock,
            events,
        })
        .map_err(|error| anyhow::anyhow!("{}", privilege::explain("sockets", &error)))?;
        let follow = |delegated: Delegated| {
            let ask = Box::new(driver.jobs());
            delegated.follow(policy.clone(), Box::new(RouteTable), ask, driver.counters())
        };
        let new_policy = NewPolicy::default();
        let post: Arc<dyn Post> = Arc::new(Counter::new(driver.jobs(), started, archive.clone()));
        let reach = Reach::new(&policy.server.agent_socket, policy.agents.clone());
        let reach = Arc::new(reach);
        let switch =
            || switch::start(driver.jobs(), post.clone(), &reach, now.clone(), driver.counters());
        let teller = Teller {
            switch: (!serve.observe).then(switch).transpose()?,
            guard: guard::start(!serve.observe, driver.jobs(), &policy, then.clone())?,
            routes: Some(delegated).filter(|_| !serve.observe).map(follow).transpose()?,
            log: EventLog::new(&policy, serve.observe),
            hosts: hosts.map(|written| written.follow(read_page(driver.jobs()))).transpose()?,
            new_policy: new_policy.clone(),
            now: Box::new(then),
            counters: driver.counters(),
            lost: 0,
        };
        let teller =
            std::thread::Builder::new().name("teller".into()).spawn(move || teller.run(&heard))?;
        note(identity, &driver.jobs())?;
        let base = Base {
            policy,
            driver,
            teller,
            reports,
            archive,
            live,
            post,
            new_policy,
            reach,
            started,
            now,
        };
        base.serve(serve, log, socket, scrape)
    }

    /// Waits for signals, and looks after the driver meanwhile.
    fn watch(&mut self, mut signals: Signals, notify: &Notify) -> anyhow::Result<()> {
        let every = notify.watchdog_every().map(|span| Duration::from_millis(span.0));
        let every = every.unwrap_or(WATCH).min(WATCH);
        let (sender, heard) = mpsc::channel();
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            signals.forever().take_while(|signal| sender.send(*signal).is_ok()).for_each(drop);
        })?;
        loop {
            self.upkeep.tend();
            match heard.recv_timeout(every) {
                Ok(SIGHUP) => {
                    notify.reloading();
                    // What went wrong is logged where it is found.
                    let status = match self.reloader.reload() {
                        Ok(_) => "serving",
                        Err(_) => "serving; the last reload was refused",
                    };
                    notify.ready(status);
                }
                Ok(_) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if !self.driver.is_running() {
                anyhow::bail!("the thread that answers packets has ended");
            }
            if self.driver.jobs().call(|_| ()).is_ok() {
                notify.alive();
            }
        }
    }

    fn stop(self) -> anyhow::Result<()> {
        let Running { control, scrape, reports, reloader, driver, teller, mut upkeep } = self;
        drop((control, scrape));
        reports.stop();
        upkeep.stop();
        drop(reloader);
        driver.stop()?;
        // The driver's end of the channel is gone, so the teller ends too.
        let _ = teller.join();
        tracing::info!("stopped");
        Ok(())
    }
}

/// Keeps who this server is, before the first answer that names it.
fn note(identity: Identity, jobs: &Jobs<Engine>) -> anyhow::Result<()> {
    Ok(jobs.call(move |bench| {
        for (name, value) in identity.facts() {
            bench.machine.note(name, &value, bench.fx);
        }
    })?)
}

/// A store and its archive.
fn with_archive(store: Option<DiskStore>) -> (Option<Box<dyn Store>>, Option<Archive>) {
    let archive = store.as_ref().and_then(DiskStore::archive);
    (store.map(|store| Box::new(store) as Box<dyn Store>), archive)
}

fn write_hosts(
    serve: &Serve,
    policy: &Policy,
    contents: &Contents,
) -> anyhow::Result<Option<Written>> {
    let path = policy.server.hosts_file.as_ref().filter(|_| !serve.observe);
    let write = |path: &PathBuf| {
        let refused = |error| privilege::explain_path("hosts_file", path, &error);
        Hosts::write(path, contents.leases.iter()).map_err(|e| anyhow::anyhow!(refused(e)))
    };
    path.map(write).transpose()
}

/// Whom the API believes at start.
fn believed(policy: &Policy, facts: &Facts) -> anyhow::Result<Arc<Live>> {
    let live = Live::new(&policy.api, Peer::own()?, facts);
    live.map(Arc::new).map_err(|why| anyhow::anyhow!("api: {why}"))
}

fn reloader(
    serve: &Serve,
    policy: &Arc<Policy>,
    post: Arc<dyn Post>,
    follow: Box<Follow>,
) -> Arc<Reloader> {
    let observe = serve.observe;
    let load: Box<Load> = Box::new(move |path| {
        let loaded = config::load(path).map_err(|faults| faults.render(false))?;
        let missing = privilege::missing_for_routes(&loaded.policy).filter(|_| !observe);
        missing.map_or(Ok(()), |why| Err(format!("error: {why}")))?;
        let tls = live::prepare(&loaded.policy.api).map_err(|why| format!("error: api: {why}"))?;
        let warnings = loaded.warnings.iter().map(|w| w.message.clone()).collect();
        let shown = loaded.without_secrets();
        Ok(Loaded { policy: loaded.policy, warnings, shown, tls })
    });
    // What is in force was read from there a moment ago.
    let shown =
        config::load(&serve.config).map_or(String::new(), |loaded| loaded.without_secrets());
    Arc::new(Reloader::new(serve.config.clone(), policy.clone(), shown, post, load, follow))
}

/// What else a new policy concerns.
fn changes(log: Log, new_policy: NewPolicy, live: Arc<Live>, reports: Arc<Reports>) -> Box<Follow> {
    Box::new(move |policy, tls| {
        if let Err(error) = log.set_policy(&policy.log) {
            tracing::error!("{error}");
        }
        live.set_policy(&policy.api, tls);
        reports.set_policy(policy);
        *new_policy.lock().unwrap_or_else(PoisonError::into_inner) = Some(policy.clone());
    })
}

/// How the hosts file reads all leases again.
fn read_page(jobs: Jobs<Engine>) -> Box<hosts::ReadPage> {
    Box::new(move |from| {
        let page = jobs.call(move |bench| {
            let mut named = Vec::new();
            let next = bench.machine.leases().scan(from, LEASES_PER_LOOK, |lease| {
                named.extend(hosts::named(lease));
            });
            hosts::Page { at: bench.now, named, next }
        });
        page.ok()
    })
}
