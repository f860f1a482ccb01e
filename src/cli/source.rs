//! Who answers: the running server by its control socket, or the store of a stopped one.
//!
//! Without `--socket`, a command that finds nobody listening goes on with the store. Reading opens
//! a copy. Changing (release, import) opens the store itself, which takes its lock: the server
//! cannot start meanwhile, and a server that runs, on whatever socket, makes the command fail.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::api::caller::Scope;
use crate::api::client::{Address, Client, ClientError, Tcp, escape};
use crate::api::command::{Command, LEASES_PER_IMPORT, LEASES_PER_LOOK, Page, Refusal};
use crate::api::etag::Conditions;
use crate::api::filter::Filter;
use crate::api::leases::{ImportPlan, check_state, parse_network};
use crate::api::page::LIMIT_MAX;
use crate::api::peer::{Peer, user_name};
use crate::api::stopped::Stopped;
use crate::api::view::{BackupRequest, ImportRequest, ImportView, LeaseView, LeasesView};
use crate::base::{NetworkId, Resource};
use crate::config::Policy;
use crate::daemon::clock;

use super::args::Target;
use super::exit::{Exit, Failure};
use super::output::Output;
use super::parts;

/// Where a server listens unless its configuration says otherwise.
const DEFAULT_SOCKET: &str = "/run/foreshadow/control.sock";

/// What a command is going to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Change,
}

/// Who answers.
pub(super) enum Source {
    Running(Box<Client>),
    Stopped(Box<StoppedServer>),
}

/// The store of a server that is not running.
pub(super) struct StoppedServer {
    desk: Stopped,
    policy: Arc<Policy>,
    access: Access,
}

/// Which leases to list.
#[derive(Default)]
pub(super) struct Wanted<'a> {
    pub(super) network: Option<&'a str>,
    pub(super) state: Option<&'a str>,
    pub(super) account: Option<&'a str>,
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        match error {
            ClientError::Refused(refusal) => refusal.into(),
            ClientError::NotRunning { .. }
            | ClientError::Connect { .. }
            | ClientError::Unreachable { .. }
            | ClientError::Denied { .. } => Failure::new(Exit::Unreachable, error),
            ClientError::Broken(_) => Failure::new(Exit::Failed, error),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        let exit = match refusal {
            Refusal::NotFound(_) => Exit::NotFound,
            Refusal::Faults(_) => Exit::Config,
            _ => Exit::Failed,
        };
        let drawn = exit == Exit::Config;
        Failure { drawn, ..Failure::new(exit, refusal) }
    }
}

/// The running server, or exit code 4.
pub(super) fn running(target: &Target) -> Result<Client, Failure> {
    let (address, doubt) = address(target)?;
    Client::connect(address).map_err(|error| match doubt {
        Some(doubt) => Failure::says(Exit::Unreachable, format!("{error} ({doubt})")),
        None => error.into(),
    })
}

/// Where the server is; and where that is a guess, why.
fn address(target: &Target) -> Result<(Address, Option<String>), Failure> {
    let (Some(url), Some(file)) = (&target.api, &target.token_file) else {
        let (socket, doubt) = socket(target);
        return Ok((Address::Socket(socket), doubt));
    };
    let usage = |why: &str| Failure::says(Exit::Usage, format!("--api {url}: {why}"));
    let (authority, authorities) = match url.trim_end_matches('/').split_once("://") {
        Some(("https", authority)) => (authority, Some(target.ca.clone())),
        Some(("http", authority)) if is_loopback(authority) => (authority, None),
        Some(("http", _)) => return Err(usage("without TLS only to a loopback address")),
        _ => return Err(usage("want https://HOST:PORT")),
    };
    if authority.contains('/') || !authority.contains(':') {
        return Err(usage("want https://HOST:PORT, without a path"));
    }
    let token = fs::read_to_string(file)
        .map_err(|error| Failure::says(Exit::Failed, format!("{}: {error}", file.display())))?;
    let (authority, token) = (authority.to_owned(), token.trim().to_owned());
    Ok((Address::Tcp(Box::new(Tcp { authority, authorities, token })), None))
}

fn is_loopback(authority: &str) -> bool {
    let addr = authority.parse::<std::net::SocketAddr>();
    addr.is_ok_and(|addr| addr.ip().is_loopback()) || authority.starts_with("localhost:")
}

/// Where the server listens; and where that is a guess, why.
fn socket(target: &Target) -> (PathBuf, Option<String>) {
    if let Some(socket) = &target.socket {
        return (socket.clone(), None);
    }
    match configured_socket(&target.config) {
        Ok(named) => (named.unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET)), None),
        Err(why) => {
            let doubt = format!("the default socket, as {}: {why}", target.config.display());
            (PathBuf::from(DEFAULT_SOCKET), Some(doubt))
        }
    }
}

/// The socket that a configuration names, faults elsewhere in it notwithstanding: who is mending
/// the file must still be able to look at the server.
fn configured_socket(config: &Path) -> Result<Option<PathBuf>, String> {
    let text = fs::read_to_string(config).map_err(|e| e.to_string())?;
    let table: toml::Table = text.parse().map_err(|_| "not TOML")?;
    let named = table.get("server").and_then(|server| server.get("control_socket")?.as_str());
    Ok(named.map(PathBuf::from))
}

impl Source {
    /// The running server, else the store of the stopped one.
    pub(super) fn open(
        target: &Target,
        access: Access,
        out: &mut Output,
    ) -> Result<Source, Failure> {
        match Client::connect(address(target)?.0) {
            Ok(client) => return Ok(Source::Running(Box::new(client))),
            Err(ClientError::NotRunning { .. }) if target.socket.is_none() => {}
            Err(error) => return Err(error.into()),
        }
        let policy = parts::load(&target.config, out.colour_err())?.policy;
        let dir = policy.server.state_dir.display();
        let (contents, store) = match access {
            Access::Read => {
                out.note(format!("the server is not running: reading a copy of {dir}"));
                (parts::open_copy(&policy)?, None)
            }
            Access::Change => {
                out.note(format!("the server is not running: changing {dir}"));
                let (store, contents) = parts::open_store(&policy)?;
                (contents, Some(store))
            }
        };
        let desk = Stopped::new(policy.clone(), clock::wall(), contents, store);
        Ok(Source::Stopped(Box::new(StoppedServer { desk, policy, access })))
    }

    /// Shows page after page of the leases that are wanted.
    pub(super) fn leases(
        &mut self,
        wanted: &Wanted<'_>,
        mut look: impl FnMut(Vec<LeaseView>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        match self {
            Source::Running(client) => {
                let mut next = Some(String::new());
                while let Some(from) = next {
                    let page: LeasesView = client.get(&wanted.path(&from))?;
                    look(page.leases)?;
                    next = page.next;
                }
            }
            Source::Stopped(server) => {
                let mut next = Some(0);
                while let Some(from) = next {
                    let page = server.page(wanted, from)?;
                    look(views(&page))?;
                    next = page.next;
                }
            }
        }
        Ok(())
    }

    /// The bindings of one address.
    pub(super) fn show(
        &mut self,
        resource: Resource,
        network: Option<&str>,
    ) -> Result<Vec<LeaseView>, Failure> {
        match self {
            Source::Running(client) => {
                let path = format!("/v1/leases/{}{}", escape(&resource.to_string()), of(network));
                Ok(client.get::<LeasesView>(&path)?.leases)
            }
            Source::Stopped(server) => {
                let network = server.network(network)?;
                let ask = |reply| Command::Lease { network, resource, scope: Scope::All, reply };
                let page = server.desk.ask(ask)?;
                if page.leases.is_empty() {
                    return Err(Refusal::NotFound(format!("no binding of {resource}")).into());
                }
                Ok(views(&page))
            }
        }
    }

    /// Ends a binding; as it was.
    pub(super) fn release(
        &mut self,
        resource: Resource,
        network: Option<&str>,
    ) -> Result<LeaseView, Failure> {
        match self {
            Source::Running(client) => {
                let resource = escape(&resource.to_string());
                Ok(client.post(&format!("/v1/leases/{resource}/release{}", of(network)), &())?)
            }
            Source::Stopped(server) => {
                let network = server.network(network)?;
                let (scope, conditions) = (Scope::All, Conditions::default());
                let who = own_name()?;
                let ask =
                    |reply| Command::Release { network, resource, scope, conditions, who, reply };
                let (lease, policy) = server.desk.ask(ask)??;
                Ok(LeaseView::of(&lease, &policy))
            }
        }
    }

    /// Takes leases over, in pieces that the server accepts.
    pub(super) fn import(
        &mut self,
        mut leases: Vec<LeaseView>,
        dry_run: bool,
    ) -> Result<ImportView, Failure> {
        let mut total = ImportView::default();
        while !leases.is_empty() {
            let rest = leases.split_off(leases.len().min(LEASES_PER_IMPORT));
            let piece = std::mem::replace(&mut leases, rest);
            let done: ImportView = match self {
                Source::Running(client) => {
                    let request = ImportRequest { leases: piece, dry_run };
                    client.post("/v1/leases/import", &request)?
                }
                Source::Stopped(server) => server.import(piece, dry_run)?,
            };
            total.imported += done.imported;
            total.refused.extend(done.refused);
        }
        Ok(total)
    }

    /// Copies the store.
    pub(super) fn backup(&mut self, directory: &Path) -> Result<(), Failure> {
        match self {
            Source::Running(client) => {
                let directory = directory.to_string_lossy().into_owned();
                Ok(client.post("/v1/backup", &BackupRequest { directory })?)
            }
            Source::Stopped(server) => {
                let to = directory.to_owned();
                Ok(server.desk.ask(|reply| Command::Backup(to, reply))??)
            }
        }
    }

    /// Ends the work on a stopped server's store, and leaves its files to their owner.
    pub(super) fn close(self) -> Result<(), Failure> {
        let Source::Stopped(server) = self else { return Ok(()) };
        let StoppedServer { desk, policy, access } = *server;
        drop(desk);
        if access == Access::Change {
            give_back(&policy.server.state_dir)?;
        }
        Ok(())
    }
}

impl StoppedServer {
    fn network(&self, name: Option<&str>) -> Result<Option<NetworkId>, Failure> {
        let Some(name) = name else { return Ok(None) };
        match parse_network(name, &self.policy) {
            Some(id) => Ok(Some(id)),
            None => Err(Refusal::NotFound(format!("no network `{name}`")).into()),
        }
    }

    fn page(&mut self, wanted: &Wanted<'_>, from: u64) -> Result<Page, Failure> {
        check_state(wanted.state)?;
        let filter = Box::new(Filter {
            network: self.network(wanted.network)?,
            state: wanted.state.map(Into::into),
            account: wanted.account.map(Into::into),
            ..Filter::default()
        });
        let most = LEASES_PER_LOOK;
        Ok(self.desk.ask(|reply| Command::Leases { filter, from, most, reply })?)
    }

    fn import(&mut self, leases: Vec<LeaseView>, dry_run: bool) -> Result<ImportView, Failure> {
        let mut plan = ImportPlan::new(leases, &self.policy, clock::wall());
        if dry_run {
            return Ok(plan.dry());
        }
        let leases = plan.take_leases();
        let who = own_name()?;
        let taken = self.desk.ask(|reply| Command::Import { leases, who, reply })??;
        Ok(plan.done(&taken))
    }
}

impl Wanted<'_> {
    fn path(&self, cursor: &str) -> String {
        let mut path = format!("/v1/leases?limit={LIMIT_MAX}");
        let cursor = Some(cursor).filter(|cursor| !cursor.is_empty());
        let named = [
            ("cursor", cursor),
            ("network", self.network),
            ("state", self.state),
            ("account", self.account),
        ];
        for (name, value) in named {
            if let Some(value) = value {
                path.push_str(&format!("&{name}={}", escape(value)));
            }
        }
        path
    }
}

/// What the audit calls whoever runs this command.
fn own_name() -> Result<Arc<str>, Failure> {
    let named = |error| Failure::says(Exit::Failed, format!("who runs this: {error}"));
    let own = Peer::own().map_err(named)?;
    Ok(format!("user {}", user_name(own.uid)).into())
}

fn views(page: &Page) -> Vec<LeaseView> {
    page.leases.iter().map(|lease| LeaseView::of(lease, &page.policy)).collect()
}

fn of(network: Option<&str>) -> String {
    network.map_or(String::new(), |name| format!("?network={}", escape(name)))
}

/// Files that root made in the store go to the owner of its directory: the server is not root.
fn give_back(dir: &Path) -> Result<(), Failure> {
    let named = |error: std::io::Error| {
        Failure::says(Exit::Failed, format!("owner of files in {}: {error}", dir.display()))
    };
    let owner = fs::metadata(dir).map_err(named)?;
    let mut pending = vec![dir.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir).map_err(named)? {
            let entry = entry.map_err(named)?;
            // Of the entry itself: a link is not followed out of the store.
            let found = entry.metadata().map_err(named)?;
            if found.is_dir() {
                pending.push(entry.path());
            }
            if !found.is_symlink() && (found.uid(), found.gid()) != (owner.uid(), owner.gid()) {
                chown(entry.path(), Some(owner.uid()), Some(owner.gid())).map_err(named)?;
            }
        }
    }
    Ok(())
}
