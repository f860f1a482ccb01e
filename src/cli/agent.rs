//! `foreshadow agent`: what runs on each host for switchovers.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::agent::client::{AgentError, Client};
use crate::agent::ports::Guarded;
use crate::agent::tls::Credentials;
use crate::agent::{Hold, Host};
use crate::daemon;
use crate::daemon::agent::FarAccess;

use super::args_agent::{Agent, Run};
use super::entries::row;
use super::exit::{Exit, Failure};
use super::output::Output;
use super::table::Table;

/// Runs the agent, or looks at one.
pub(super) fn agent(said: Agent, out: &mut Output) -> Result<(), Failure> {
    match said {
        Agent::Run(args) => {
            let state = state_dir(args.state_dir.clone(), &args.socket);
            let far = far_access(&args);
            Ok(daemon::agent::run(&args.socket, &state, far.as_ref(), &args.log)?)
        }
        Agent::Status(args) if args.ports => ports(&args.socket, args.json, out),
        Agent::Status(args) => status(&args.socket, args.json, out),
        Agent::Clear(args) => {
            if UnixStream::connect(&args.socket).is_ok() {
                let text = format!("an agent runs at {}: stop it first", args.socket.display());
                return Err(Failure::says(Exit::Failed, text));
            }
            let host = Host::start(Some(&state_dir(args.state_dir, &args.socket)));
            host.and_then(Host::clear).map_err(|e| Failure::new(Exit::Failed, e))
        }
    }
}

fn far_access(args: &Run) -> Option<FarAccess> {
    let (ca, certificate) = (args.ca.clone()?, args.certificate.clone()?);
    let credentials = Credentials { ca, certificate, key: args.key.clone()? };
    Some(FarAccess { address: args.listen?, credentials, obeyed: args.obey.clone() })
}

fn state_dir(given: Option<PathBuf>, socket: &Path) -> PathBuf {
    given.unwrap_or_else(|| socket.parent().unwrap_or(Path::new("/")).into())
}

fn status(socket: &Path, json: bool, out: &mut Output) -> Result<(), Failure> {
    let (holds, in_force) = Client::connect(socket)?.status()?;
    if json {
        return out.json(&holds);
    }
    if !in_force {
        writeln!(out, "the gate was changed by somebody else: it was made anew")?;
    }
    let header = ["PAIR", "EPOCH", "STAGE", "BRIDGE", "ADDRESSES", "ACTIVE", "STANDBY"];
    let mut table = Table::new(&header);
    for hold in &holds {
        row(&mut table, &cells(hold).each_ref().map(|cell| Some(cell.as_str())));
    }
    let colour = out.colour();
    Ok(table.write(out, colour)?)
}

fn ports(socket: &Path, json: bool, out: &mut Output) -> Result<(), Failure> {
    let guarded = Client::connect(socket)?.guarded()?;
    if json {
        let shown: Vec<_> = guarded.iter().map(|(network, of)| Shown { network, of }).collect();
        return out.json(&shown);
    }
    let mut table = Table::new(&["NETWORK", "PORT", "HARDWARE", "ADDRESSES", "STATE"]);
    for (network, of) in &guarded {
        let macs: Vec<String> = of.macs.iter().map(ToString::to_string).collect();
        let addresses: Vec<String> = of.addresses.iter().map(ToString::to_string).collect();
        let state = match (of.fenced, of.macs.is_empty()) {
            (true, _) => "fenced",
            (false, true) => "open",
            (false, false) => "bound",
        };
        let (macs, addresses) = (macs.join(", "), addresses.join(", "));
        row(
            &mut table,
            &[network.as_ref(), &*of.port, macs.as_str(), addresses.as_str(), state].map(Some),
        );
    }
    let colour = out.colour();
    Ok(table.write(out, colour)?)
}

/// A guarded port as JSON.
#[derive(serde::Serialize)]
struct Shown<'a> {
    network: &'a str,
    #[serde(flatten)]
    of: &'a Guarded,
}

fn cells(hold: &Hold) -> [String; 7] {
    let addresses: Vec<String> = hold.addresses.iter().map(ToString::to_string).collect();
    [
        hold.pair.to_string(),
        hold.epoch.to_string(),
        format!("{:?}", hold.stage).to_lowercase(),
        hold.bridge.to_string(),
        addresses.join(", "),
        format!("{}={}", hold.active.port, hold.active.mac),
        format!("{}={}", hold.standby.port, hold.standby.mac),
    ]
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Failure {
        let exit = match error {
            AgentError::Lost(_) => Exit::Unreachable,
            _ => Exit::Failed,
        };
        Failure::new(exit, error)
    }
}
