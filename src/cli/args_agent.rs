//! What may be typed about agents and switchovers.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Subcommand;

use crate::agent::Holder;

/// Where the agent of a host is asked, unless a command says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/foreshadow-agent/agent.sock";

/// `agent`.
#[derive(Debug, Subcommand)]
pub enum Agent {
    /// Run the agent of this host in the foreground
    Run(Run),
    /// Show what the agent of this host holds
    Status(AgentStatus),
    /// Take the gate away, while no agent runs: nobody is silent any more
    Clear(Clear),
}

/// `agent run`.
#[derive(Debug, clap::Args)]
pub struct Run {
    /// Where it is asked
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// Where it keeps what it holds while this host is up; beside the socket if not given
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Where servers of other hosts ask it, by TLS; nowhere if not given
    #[arg(long, value_name = "ADDRESS:PORT", requires_all = ["ca", "certificate", "key"])]
    pub listen: Option<SocketAddr>,
    /// Who signs the certificates of servers, in PEM
    #[arg(long, value_name = "FILE", requires = "listen")]
    pub ca: Option<PathBuf>,
    /// The certificate of this host, in PEM, with its name as a DNS name
    #[arg(long, value_name = "FILE", requires = "listen")]
    pub certificate: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE", requires = "listen")]
    pub key: Option<PathBuf>,
    /// The common name in the certificate of the server that is obeyed
    #[arg(long, value_name = "NAME", default_value = "foreshadow")]
    pub obey: String,
    /// What it logs: a filter as `[log] filter` has it
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub log: String,
}

/// `agent status`.
#[derive(Debug, clap::Args)]
pub struct AgentStatus {
    /// Where it is asked
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// Show which ports are guarded instead, and what each may say
    #[arg(long)]
    pub ports: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `agent clear`.
#[derive(Debug, clap::Args)]
pub struct Clear {
    /// Where it is asked
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// Where it keeps what it holds; beside the socket if not given
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

/// `switchover`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without a server: the gate and the announcements are this host's, by its agent if one runs, else by
this command itself, which then needs CAP_NET_ADMIN and CAP_NET_RAW.")]
pub struct Switchover {
    /// An address that both guests have; may be given again
    #[arg(long = "address", value_name = "ADDRESS", required = true)]
    pub addresses: Vec<IpAddr>,
    /// The bridge of the guests
    #[arg(long, value_name = "NAME")]
    pub bridge: String,
    /// The guest that has the addresses: its port of the bridge, and its hardware address
    #[arg(long, value_name = "PORT=MAC", value_parser = holder)]
    pub active: Holder,
    /// The guest that is to have them
    #[arg(long, value_name = "PORT=MAC", value_parser = holder)]
    pub standby: Holder,
    /// The active failed: silence it first, and whatever comes of it
    #[arg(long)]
    pub failed: bool,
    /// Wake the standby so, once it is silent: a program and its arguments, parted by blanks
    #[arg(long, value_name = "COMMAND")]
    pub wake: Option<String>,
    /// Keep the former active silent for so many seconds, then for as long as the gate stays.
    /// Without it, until `foreshadow agent clear`
    #[arg(long = "silence", value_name = "SECONDS")]
    pub silence: Option<f64>,
    /// Rises with each switchover of the pair: an agent refuses what was overtaken
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub epoch: u64,
    /// The agent of this host
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn holder(text: &str) -> Result<Holder, String> {
    let want =
        || format!("`{text}`, want a port and a hardware address, as in tap1=52:54:00:00:00:01");
    let (port, mac) = text.split_once('=').ok_or_else(want)?;
    let mac = mac.parse().map_err(|()| want())?;
    Ok(Holder { mac, port: port.into(), elsewhere: false })
}
