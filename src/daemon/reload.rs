//! A changed configuration takes effect whole, or not at all.
//!
//! The file is read and checked here, on the thread of whoever asked (SIGHUP or the control
//! socket). Only a policy without a fault goes to the engine's thread, which swaps it between two
//! packets. While that happens packets wait in the sockets; none is lost.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::api::command::{Command, Post, Refusal, Reload};
use crate::api::view::ReloadView;
use crate::config::Policy;

/// Reads a file into a policy and its warnings; on error the faults, drawn at their lines.
pub type Load = dyn Fn(&Path) -> Result<(Policy, Vec<String>), String> + Send + Sync;

/// What else a new policy concerns beside the engine: logs, interfaces.
pub type Follow = dyn Fn(&Arc<Policy>) + Send + Sync;

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
}

impl Reloader {
    /// A reloader of `path`, whose policy `current` is in force.
    pub fn new(
        path: PathBuf,
        current: Arc<Policy>,
        post: Arc<dyn Post>,
        load: Box<Load>,
        follow: Box<Follow>,
    ) -> Reloader {
        Reloader { path, load, follow, post, current: Mutex::new(current) }
    }
}

impl Reload for Reloader {
    fn reload(&self) -> Result<ReloadView, Refusal> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let (policy, mut warnings) = (self.load)(&self.path).map_err(|faults| {
            tracing::error!("{}: the policy in force stays:\n{faults}", self.path.display());
            Refusal::Faults(faults)
        })?;
        let policy = Arc::new(policy);
        let (reply, swapped) = oneshot::channel();
        let gone = || Refusal::Unavailable("the server is busy or stopping".into());
        self.post.post(Command::SetPolicy(policy.clone(), reply)).map_err(|_| gone())?;
        wait(swapped).ok_or_else(gone)?;
        (self.follow)(&policy);
        warnings.extend(fixed_changes(&current, &policy));
        for warning in &warnings {
            tracing::warn!("{}: {warning}", self.path.display());
        }
        let networks = policy.networks.len();
        tracing::info!(networks, "configuration reloaded");
        *current = policy;
        Ok(ReloadView { networks, warnings })
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
        ("server.hosts_file", was.hosts_file != is.hosts_file),
        ("server.duid", was.server_duid != is.server_duid),
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

    fn reloader(swaps: &Arc<Swaps>, load: Box<Load>) -> Reloader {
        Reloader::new("x.toml".into(), policy(), swaps.clone(), load, Box::new(|_| {}))
    }

    #[test]
    fn a_bad_file_never_reaches_the_engine() {
        let swaps = Arc::new(Swaps::default());
        let reloader = reloader(&swaps, Box::new(|_| Err("error: x.toml:1".into())));
        assert_eq!(reloader.reload().unwrap_err(), Refusal::Faults("error: x.toml:1".into()));
        assert_eq!(swaps.0.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_good_file_is_put_in_force_and_what_waits_for_a_restart_is_named() {
        let swaps = Arc::new(Swaps::default());
        let load = |_: &Path| {
            let mut policy = Policy::clone(&policy());
            policy.server.state_dir = "/elsewhere".into();
            policy.server.server_duid = Some([0, 4, 1].as_slice().into());
            Ok((policy, vec!["odd".into()]))
        };
        let reloader = reloader(&swaps, Box::new(load));
        let done = reloader.reload().unwrap();
        assert_eq!(swaps.0.load(Ordering::SeqCst), 1);
        assert_eq!(done.networks, 2);
        let restart = |key| format!("`{key}` changed: it takes effect at the next start");
        let want = ["odd".into(), restart("server.state_dir"), restart("server.duid")];
        assert_eq!(done.warnings, want);
        assert_eq!(reloader.reload().unwrap().warnings, ["odd"], "told once");
    }

    #[test]
    fn an_engine_that_is_gone_is_an_error() {
        struct Gone;
        impl Post for Gone {
            fn post(&self, command: Command) -> Result<(), Command> {
                Err(command)
            }
        }
        let load = |_: &Path| Ok((Policy::clone(&policy()), vec![]));
        let reloader = Reloader::new(
            "x.toml".into(),
            policy(),
            Arc::new(Gone),
            Box::new(load),
            Box::new(|_| {}),
        );
        assert!(matches!(reloader.reload(), Err(Refusal::Unavailable(_))));
    }
}
