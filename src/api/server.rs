//! The sockets that the API is served on, and its thread: a Unix socket, and TCP where configured.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::base::Timestamp;
use crate::config::policy::ApiLimits;
use crate::store::archive::Archive;
use crate::telemetry::scrape::ScrapeStatus;
use crate::telemetry::{Telemetry, lower_priority};

use super::command::{Post, Reload};
use super::findings::Findings;
use super::hosts::Hosts;
use super::listen::{self, Limits, Listener};
use super::live::Live;
use super::metrics::Metrics;
use super::routes;

/// What requests need from the rest of the server.
pub struct Hub {
    /// The way to the engine's thread.
    pub post: Arc<dyn Post>,
    /// Reads the configuration again.
    pub reload: Arc<dyn Reload>,
    /// The audit records; an observer has none.
    pub archive: Option<Archive>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The time, for imports that do not say since when.
    pub now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    /// Whom the API believes, and how much it does for them.
    pub live: Arc<Live>,
    /// What instances report; an observer keeps none.
    pub telemetry: Option<Telemetry>,
    /// How scrapes are doing.
    pub scrapes: Box<Scrapes>,
    /// What is wrong on the networks.
    pub findings: Arc<Findings>,
    /// The agents.
    pub hosts: Arc<dyn Hosts>,
}

/// Reads how each `[[scrape]]` is doing.
pub type Scrapes = dyn Fn() -> BTreeMap<Arc<str>, ScrapeStatus> + Send + Sync;

/// The running API; stops when dropped.
#[derive(Debug)]
pub struct Server {
    _file: SocketFile,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// Sockets that are bound: whoever connects waits until they are served.
#[derive(Debug)]
pub struct Bound {
    listener: UnixListener,
    tcp: Vec<TcpListener>,
    limits: Limits,
    file: SocketFile,
}

impl Bound {
    /// Binds the control socket at `path`.
    ///
    /// A socket that a dead server left behind is replaced; one that answers is an error.
    pub fn new(path: &Path) -> io::Result<Bound> {
        let listener = bind(path)?;
        let file = SocketFile(path.to_owned());
        Ok(Bound { listener, tcp: Vec::new(), limits: limits(ApiLimits::DEFAULT), file })
    }

    /// Binds a TCP address as well.
    pub fn listen(&mut self, addr: SocketAddr) -> io::Result<()> {
        let listener = TcpListener::bind(addr)?;
        listener.set_nonblocking(true)?;
        self.tcp.push(listener);
        Ok(())
    }

    /// How many connections each socket takes.
    pub fn set_limits(&mut self, of: ApiLimits) {
        self.limits = limits(of);
    }

    /// Serves them on a new thread.
    pub fn serve(self, hub: Hub) -> io::Result<Server> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let Bound { listener, tcp, limits, file } = self;
        let listeners = {
            let _context = runtime.enter();
            let unix = Listener::Unix(tokio::net::UnixListener::from_std(listener)?);
            let tcp = tcp
                .into_iter()
                .map(|listener| Ok(Listener::Tcp(tokio::net::TcpListener::from_std(listener)?)));
            std::iter::once(Ok(unix)).chain(tcp).collect::<io::Result<Vec<_>>>()?
        };
        let (stop, stopping) = watch::channel(false);
        let thread = std::thread::Builder::new()
            .name("control".into())
            .spawn(move || serve(&runtime, listeners, hub, limits, stopping))?;
        Ok(Server { _file: file, stop, thread: Some(thread) })
    }
}

fn limits(of: ApiLimits) -> Limits {
    let ApiLimits { connections, connections_per_peer, .. } = of;
    Limits { connections, connections_per_peer }
}

fn serve(
    runtime: &Runtime,
    listeners: Vec<Listener>,
    hub: Hub,
    limits: Limits,
    stopping: watch::Receiver<bool>,
) {
    // However much is asked, packets are answered first.
    lower_priority();
    let live = hub.live.clone();
    runtime.block_on(async {
        let router = routes::router(hub, stopping.clone());
        let mut open = JoinSet::new();
        for listener in listeners {
            let (router, live) = (router.clone(), live.clone());
            open.spawn(listen::listen(listener, router, live, limits, stopping.clone()));
        }
        while open.join_next().await.is_some() {}
    });
}

/// A socket's file, gone when dropped.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nobody listens once the thread is gone.
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A listening socket at `path` that never exists with other permissions than 0660.
fn bind(path: &Path) -> io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        let why = "another server answers on this socket";
        return Err(io::Error::new(io::ErrorKind::AddrInUse, why));
    }
    let mut unready = path.as_os_str().to_owned();
    unready.push(".new");
    let unready = PathBuf::from(unready);
    match fs::remove_file(&unready) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&unready)?;
    listener.set_nonblocking(true)?;
    fs::set_permissions(&unready, Permissions::from_mode(0o660))?;
    fs::rename(&unready, path)?;
    Ok(listener)
}
