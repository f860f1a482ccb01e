//! The agent as a program: privileges, log, signals, socket.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::agent::Host;
use crate::agent::listen::{self, Door, FarDoor, Message};
use crate::agent::tls::Credentials;
use crate::config::policy::LogPolicy;

use super::log::Log;
use super::notify::Notify;
use super::privilege;

/// Where servers of other hosts come in.
#[derive(Clone, Debug)]
pub struct FarAccess {
    /// Where it listens.
    pub address: SocketAddr,
    /// The files in PEM.
    pub credentials: Credentials,
    /// The common name of the server that is obeyed.
    pub obeyed: String,
}

/// Runs the agent until a signal ends it. What it holds stays in force.
pub fn run(
    socket: &Path,
    state_dir: &Path,
    far: Option<&FarAccess>,
    filter: &str,
) -> anyhow::Result<()> {
    let policy =
        LogPolicy { json: false, filter: filter.into(), bad_packets_per_s: 0, leases_per_s: 0 };
    Log::start(&policy).map_err(anyhow::Error::msg)?;
    let notify = Notify::from_env();
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("signals")?;
    privilege::drop_privileges_of_agent().context("giving up privileges")?;
    let mut host = Host::start(Some(state_dir))?;
    let door = Door::open(socket).with_context(|| format!("socket {}", socket.display()))?;
    let (to, messages) = listen::messages();
    door.serve(&to).context("socket")?;
    if let Some(FarAccess { address, credentials, obeyed }) = far {
        let door = FarDoor::open(*address, credentials.clone(), obeyed)
            .with_context(|| format!("listening on {address}"))?;
        door.serve(&to).context("listening")?;
        tracing::info!(%address, "obeys a server of another host");
    }
    let told = to.clone();
    let stop = move || {
        if signals.forever().next().is_some() {
            let _ = told.send(Message::Stop);
        }
    };
    std::thread::Builder::new().name("agent-signals".into()).spawn(stop).context("thread")?;
    notify.ready("holding");
    tracing::info!(holds = host.holds().len(), socket = %socket.display(), "agent ready");
    let ended = listen::run(&mut host, to, &messages);
    notify.stopping();
    Ok(ended?)
}
