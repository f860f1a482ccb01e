//! A changed configuration takes effect whole, or not at all.
//!
//! The file is read and checked here, on the thread of whoever asked (SIGHUP or the control
//! socket). Only a policy without a fault goes to the engine's thread, which swaps it between two
//! packets. While that happens packets wait in the sockets; none is lost.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_rustls::rustls::ServerConfig;

use crate::api::command::{Command, Post, Refusal, Reload};
use crate::api::view::{CheckView, ConfigurationView, FaultView, ReloadView};
use crate::config::policy::Account;
use crate::config::{self, Policy, Severity};

/// So many accounts and applications that are gone are told by name.
const LOST_TOLD: usize = 10;

/// What a file says, once all that it names could be used.
pub struct Loaded {
    /// The policy.
    pub policy: Policy,
    /// What is odd, and yet no fault.
    pub warnings: Vec<String>,
    /// The text, without its secrets.
    pub shown: String,
    /// The API's certificate.
    pub tls: Option<Arc<ServerConfig>>,
}

/// Reads a file; on error the faults, drawn at their lines.
pub type Load = dyn Fn(&Path) -> Result<Loaded, String> + Send + Sync;

/// What else a new policy concerns beside the engine: logs, interfaces, the API.
pub type Follow = dyn Fn(&Arc<Policy>, Option<Arc<ServerConfig>>) + Send + Sync;

/// How long the engine's thread may take to swap policies.
const SWAP_MAX: Duration = Duration::from_secs(10);

/// Reloads one file.
pub struct Reloader {
    path: PathBuf,
    load: Box<Load>,
    follow: Box<Follow>,
    post: Arc<dyn Post>,
    /// Two reloads at once could take effect in the wrong order. What is in force, for
    /// [`fixed_changes`].
    current: Mutex<Arc<Policy>>,
    /// The text of what is in force, without its secrets.
    shown: Mutex<String>,
}

impl Reloader {
    /// A reloader of `path`, whose policy `current` is in force; `shown` is its text.
    pub fn new(
        path: PathBuf,
        current: Arc<Policy>,
        shown: String,
        post: Arc<dyn Post>,
        load: Box<Load>,
        follow: Box<Follow>,
    ) -> Reloader {
        let (current, shown) = (Mutex::new(current), Mutex::new(shown));
        Reloader { path, load, follow, post, current, shown }
    }
}

impl Reload for Reloader {
    fn file(&self) -> &Path {
        &self.path
    }

    fn shown(&self) -> ConfigurationView {
        let text = self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ConfigurationView { file: self.path.display().to_string(), text }
    }

    fn check(&self, text: &str) -> CheckView {
        let (valid, faults, more) = match config::check(text, "the request") {
            Ok(loaded) => (true, loaded.warnings, 0),
            Err(faults) => (false, faults.list().to_vec(), faults.more()),
        };
        CheckView { valid, faults: faults.iter().map(fault_view).collect(), more }
    }

    fn reload(&self) -> Result<ReloadView, Refusal> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = (self.load)(&self.path).map_err(|faults| {
            tracing::error!("{}: the policy in force stays:\n{faults}", self.path.display());
            Refusal::Faults(faults)
        })?;
        let Loaded { policy, mut warnings, shown, tls } = loaded;
        let policy = Arc::new(policy);
        let (reply, swapped) = oneshot::channel();
        let gone = || Refusal::Unavailable("the server is busy or stopping".into());
        self.post.post(Command::SetPolicy(policy.clone(), reply)).map_err(|_| gone())?;
        wait(swapped).ok_or_else(gone)?;
        (self.follow)(&policy, tls);
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = shown;
        warnings.extend(fixed_changes(&current, &policy));
        warnings.extend(lost_networks(&current, &policy));
        warnings.extend(lost_accounts(&current, &policy));
        for warning in &warnings {
            tracing::warn!("{}: {warning}", self.path.display());
        }
        let networks = policy.networks.len();
        tracing::info!(networks, "configuration reloaded");
        *current = policy;
        Ok(ReloadView { networks, warnings })
    }
}

fn fault_view(fault: &config::Fault) -> FaultView {
    FaultView {
        severity: if fault.severity == Severity::Error { "error" } else { "warning" }.into(),
        kind: fault.kind.as_str().into(),
        line: fault.line,
        column: fault.column,
        key: fault.key.clone(),
        message: fault.message.clone(),
        found: fault.found.clone(),
        expected: fault.expected.clone(),
    }
}

/// Waits for an answer with a deadline; the caller is no asynchronous task.
fn wait(answer: oneshot::Receiver<()>) -> Option<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().ok()?;
    runtime.block_on(async { tokio::time::timeout(SWAP_MAX, answer).await.ok()?.ok() })
}

/// What only a restart changes.
fn fixed_changes(old: &Policy, new: &Policy) -> Vec<String> {
    let (was, is) = (&old.server, &new.server);
    let changed = [
        ("server.state_dir", was.state_dir != is.state_dir),
        ("server.control_socket", was.control_socket != is.control_socket),
        ("server.agent_socket", was.agent_socket != is.agent_socket),
        ("server.hosts_file", was.hosts_file != is.hosts_file),
        ("server.duid", was.server_duid != is.server_duid),
        ("api.listen", old.api.listen != new.api.listen),
        ("api.connections", connections(old) != connections(new)),
        ("log.format", old.log.json != new.log.json),
        ("metrics.listen", old.metrics.listen != new.metrics.listen),
        ("store.journal", old.store.journal_bytes != new.store.journal_bytes),
        ("store.checkpoint", old.store.checkpoint_every != new.store.checkpoint_every),
        ("store.cache", old.store.cache_bytes != new.store.cache_bytes),
    ];
    changed
        .into_iter()
        .filter(|(_, changed)| *changed)
        .map(|(key, _)| format!("`{key}` changed: it takes effect at the next start"))
        .collect()
}

/// Networks that are gone: a name is all that what is stored knows of its network.
fn lost_networks(old: &Policy, new: &Policy) -> Vec<String> {
    let is_gone = |id| !new.networks.iter().any(|network| network.id == id);
    let gone = old.networks.iter().filter(|network| is_gone(network.id));
    let warn = |network: &config::policy::Network| {
        format!(
            "no network is called \"{}\" any more: its leases, instances and reservations rest until \
             one is, and another network does not know of them",
            network.name
        )
    };
    gone.map(warn).collect()
}

/// Accounts and applications that are gone: what is theirs stays so, and nothing limits it.
fn lost_accounts(old: &Policy, new: &Policy) -> Vec<String> {
    let left: HashMap<&str, &Account> = new.accounts.iter().map(|a| (&*a.name, &**a)).collect();
    let mut gone = Vec::new();
    for before in &old.accounts {
        let Some(now) = left.get(&*before.name) else {
            gone.push(format!("account is called \"{}\"", before.name));
            continue;
        };
        let lost = before.applications.iter().filter(|a| now.application(&a.name).is_none());
        gone.extend(lost.map(|a| format!("application is called \"{}/{}\"", before.name, a.name)));
    }
    let more = gone.len().saturating_sub(LOST_TOLD);
    let told = gone.iter().take(LOST_TOLD).map(|what| {
        format!("no {what} any more: its instances and leases stay, and no limit of it holds")
    });
    told.chain((more > 0).then(|| format!("the same of {more} others"))).collect()
}

fn connections(policy: &Policy) -> (usize, usize) {
    (policy.api.limits.connections, policy.api.limits.connections_per_peer)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::api::tests::policy;

    /// An engine's thread that swaps policies at once, and counts.
    #[derive(Default)]
    struct Swaps(AtomicUsize);

    impl Post for Swaps {
        fn post(&self, command: Command) -> Result<(), Command> {
            match command {
                Command::SetPolicy(_, reply) => {
                    self.0.fetch_add(1, Ordering::SeqCst);
                    let _ = reply.send(());
                    Ok(())
                }
                other => Err(other),
            }
        }
    }

    fn loaded(policy: Policy, warnings: &[&str]) -> Loaded {
        let warnings = warnings.iter().map(|it| (*it).into()).collect();
        Loaded { policy, warnings, shown: "# new".into(), tls: None }
    }

    fn reloader(swaps: &Arc<Swaps>, load: Box<Load>) -> Reloader {
        let follow = Box::new(|_: &Arc<Policy>, _| {});
        Reloader::new("x.toml".into(), policy(), String::new(), swaps.clone(), load, follow)
    }

    #[test]
    fn a_bad_file_never_reaches_the_engine() {
        let swaps = Arc::new(Swaps::default());
        let reloader = reloader(&swaps, Box::new(|_| Err("error: x.toml:1".into())));
        assert_eq!(reloader.reload().unwrap_err(), Refusal::Faults("error: x.toml:1".into()));
        assert_eq!(swaps.0.load(Ordering::SeqCst), 0);
        assert_eq!(reloader.shown().text, "");
    }

    #[test]
    fn a_good_file_is_put_in_force_and_what_waits_for_a_restart_is_named() {
        let swaps = Arc::new(Swaps::default());
        let load = |_: &Path| {
            let mut policy = Policy::clone(&policy());
            policy.server.state_dir = "/elsewhere".into();
            policy.server.server_duid = Some([0, 4, 1].as_slice().into());
            Ok(loaded(policy, &["odd"]))
        };
        let reloader = reloader(&swaps, Box::new(load));
        let done = reloader.reload().unwrap();
        assert_eq!(swaps.0.load(Ordering::SeqCst), 1);
        assert_eq!(done.networks, 2);
        let restart = |key| format!("`{key}` changed: it takes effect at the next start");
        let want = ["odd".into(), restart("server.state_dir"), restart("server.duid")];
        assert_eq!(done.warnings, want);
        assert_eq!(reloader.shown().text, "# new");
        assert_eq!(reloader.reload().unwrap().warnings, ["odd"], "told once");
    }

    #[test]
    fn a_network_that_is_gone_is_named() {
        let swaps = Arc::new(Swaps::default());
        let load = |_: &Path| {
            let mut policy = Policy::clone(&policy());
            policy.networks.truncate(1);
            Ok(loaded(policy, &[]))
        };
        let warnings = reloader(&swaps, Box::new(load)).reload().unwrap().warnings;
        let name = &policy().networks[1].name;
        assert!(warnings.len() == 1 && warnings[0].contains(&**name), "{warnings:?}");
    }

    #[test]
    fn an_account_that_is_gone_is_named() {
        let owned = |n: usize| {
            let of = |n| Account { name: format!("shop{n}").into(), ..Account::default() };
            let accounts = (0..n).map(of).map(Arc::new).collect();
            Policy { accounts, ..Policy::clone(&policy()) }
        };
        assert_eq!(lost_accounts(&owned(1), &owned(2)), Vec::<String>::new());
        let warnings = lost_accounts(&owned(1), &owned(0));
        assert!(warnings.len() == 1 && warnings[0].contains("\"shop0\""), "{warnings:?}");
        let warnings = lost_accounts(&owned(100), &owned(0));
        assert!(warnings.len() == 11 && warnings[10].contains("90 others"), "{warnings:?}");
    }

    #[test]
    fn an_engine_that_is_gone_is_an_error() {
        struct Gone;
        impl Post for Gone {
            fn post(&self, command: Command) -> Result<(), Command> {
                Err(command)
            }
        }
        let load = |_: &Path| Ok(loaded(Policy::clone(&policy()), &[]));
        let reloader = Reloader::new(
            "x.toml".into(),
            policy(),
            String::new(),
            Arc::new(Gone),
            Box::new(load),
            Box::new(|_, _| {}),
        );
        assert!(matches!(reloader.reload(), Err(Refusal::Unavailable(_))));
    }
}
