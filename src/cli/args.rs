//! What may be typed.

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand};
use clap_complete::Shell;

use crate::api::leases::STATES;
use crate::api::transfer::Format;
use crate::base::Resource;
use crate::import::Source;

pub use super::args_agent::{Agent, Switchover};
pub use super::args_audit::{Audit, Events, Who};
pub use super::args_directory::{Accounts, Applications, Asked, Instances, Reservations};
pub use super::args_forecast::{Anomaly, Forecast};
pub use super::args_shadows::{Backtest, Predict, Relocation, Score, Shadows};
pub use super::args_standby::Standby;

/// Where the configuration is unless the command says otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/foreshadow/foreshadow.toml";

/// A DHCP server for hypervisor networks.
#[derive(Debug, Parser)]
#[command(name = "foreshadow", version, about, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 command line makes no sense, 3 configuration has faults,
4 server cannot be reached, 5 store damaged or newer, 6 no such lease, network or name,
7 the scan found conflicts.";

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server in the foreground
    Serve(Serve),
    /// Check a configuration file, and show every fault at its line
    Check(Check),
    /// Show, end, save and restore leases
    #[command(subcommand)]
    Leases(Leases),
    /// Register instances before they boot, show and end them
    #[command(subcommand)]
    Instances(Instances),
    /// Say who owns instances, and what they may have
    #[command(subcommand)]
    Accounts(Accounts),
    /// Say what an account runs, and what that may have
    #[command(subcommand)]
    Applications(Applications),
    /// Reserve addresses for clients at run time
    #[command(subcommand)]
    Reservations(Reservations),
    /// Take over the leases of another DHCP server
    Import(Import),
    /// Show what the running server is doing
    Status(Status),
    /// Say what an address is worth, and why: new clients are given the one of the lowest score
    Score(Score),
    /// Say whom the server would move to other pools, and what that costs: a dry run
    Relocation(Relocation),
    /// Compare what answers on a network with what is bound there: duplicates, squatters, rogues
    Scan(super::args_scan::Scan),
    /// Say how many instances will start, so that addresses are held ready for them
    Predict(Predict),
    /// Play an event log, and say what demand shadows would have done
    Backtest(Backtest),
    /// Forecast a series that comes on standard input
    Forecast(Forecast),
    /// Score how unusual the values of a series are that comes on standard input
    Anomaly(Anomaly),
    /// List, reserve, extend and give back addresses that are held ahead of need
    #[command(subcommand)]
    Shadows(Shadows),
    /// Name machines that hold the addresses of others, ready to take them over
    Standby(Standby),
    /// Have the running server read its configuration again
    Reload(Reload),
    /// Copy the store, of a running server too
    Backup(Backup),
    /// Show the audit records: who had which address, and who did what
    Audit(Audit),
    /// Say who had an address at some time
    Who(Who),
    /// Show what happens, as it happens
    Events(Events),
    /// Look at what instances report, and hand in more of it
    #[command(subcommand)]
    Telemetry(Telemetry),
    /// Make, show, renew and end bearer tokens of the API
    #[command(subcommand)]
    Token(Token),
    /// Do on this host what a switchover takes: the gate, announcements, forwarding
    #[command(subcommand)]
    Agent(Agent),
    /// Give an address of two guests to the other one
    Switchover(Switchover),
    /// Show a server and real clients at work in a private network namespace
    Lab(crate::lab::Args),
    /// Write shell completions to standard output
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual pages to a directory
    Man {
        /// An existing directory
        dir: PathBuf,
    },
}

/// `serve`.
#[derive(Debug, clap::Args)]
pub struct Serve {
    /// The configuration file; the same as with --config
    #[arg(value_name = "FILE", conflicts_with = "config")]
    pub file: Option<PathBuf>,
    /// The configuration file
    #[arg(long, short, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub config: PathBuf,
    /// Answer nothing; log what would have been said, beside the answers of other servers
    #[arg(long)]
    pub observe: bool,
    /// Start although the store is damaged, and say what could not be read
    #[arg(long)]
    pub recover: bool,
}

impl Serve {
    /// The configuration file, whichever way it was named.
    pub fn config(&self) -> &Path {
        self.file.as_ref().unwrap_or(&self.config)
    }
}

/// `check`.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// The configuration file
    #[arg(value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub file: PathBuf,
    /// Print the faults and warnings as JSON
    #[arg(long)]
    pub json: bool,
}

/// Which server is meant.
#[derive(Clone, Debug, clap::Args)]
pub struct Target {
    /// The server's configuration file: it names the control socket, and the store for commands
    /// that do without a running server
    #[arg(long, short, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub config: PathBuf,
    /// The control socket of a running server; no store is looked at then
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// A server elsewhere, by its API: https://HOST:PORT, or http:// on a loopback address
    #[arg(long, value_name = "URL", conflicts_with = "socket", requires = "token_file")]
    pub api: Option<String>,
    /// A file that holds a bearer token of the API
    #[arg(long, value_name = "FILE", requires = "api")]
    pub token_file: Option<PathBuf>,
    /// Certificates in PEM that sign that of the API
    #[arg(long, value_name = "FILE", default_value = "/etc/ssl/certs/ca-certificates.crt")]
    pub ca: PathBuf,
}

/// `token`.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token, and write it to standard output: it is shown this once
    Add {
        /// What logs and the audit are to call its bearer
        name: String,
        /// What its bearer may do
        #[arg(long, value_parser = PossibleValuesParser::new(["read", "operate", "admin"]))]
        role: String,
        /// Only with leases and instances of this account; may be given several times
        #[arg(long = "account", value_name = "NAME")]
        accounts: Vec<String>,
        /// For how many days it is believed; for ever if not given
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: Option<u32>,
        /// Which server
        #[command(flatten)]
        target: Target,
    },
    /// List tokens, never what they are
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Which server
        #[command(flatten)]
        target: Target,
    },
    /// Give a token another secret, and write that to standard output
    Rotate {
        /// Its name
        name: String,
        /// For how many seconds the old one is still believed
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        overlap: u32,
        /// Which server
        #[command(flatten)]
        target: Target,
    },
    /// End a token at once
    Revoke {
        /// Its name
        name: String,
        /// Which server
        #[command(flatten)]
        target: Target,
    },
}

/// `leases`.
#[derive(Debug, Subcommand)]
pub enum Leases {
    /// List leases
    List {
        /// Only of this network
        #[arg(long, value_name = "NAME")]
        network: Option<String>,
        /// Only in this state
        #[arg(long, value_parser = PossibleValuesParser::new(STATES))]
        state: Option<String>,
        /// Only of this account
        #[arg(long, value_name = "NAME")]
        account: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Which server
        #[command(flatten)]
        target: Target,
    },
    /// Show all that is known about one address
    Show {
        /// The address
        #[arg(value_parser = parse_address)]
        address: Resource,
        /// On this network
        #[arg(long, value_name = "NAME")]
        network: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Which server
        #[command(flatten)]
        target: Target,
    },
    /// End a lease or a quarantine, so that the address is free
    Release {
        /// The address
        #[arg(value_parser = parse_address)]
        address: Resource,
        /// On this network; needed only where several have such an address
        #[arg(long, value_name = "NAME")]
        network: Option<String>,
        /// Which server
        #[command(flatten)]
        target: Target,
    },
    /// Put an address out of use: nobody has it until that is lifted or over
    Quarantine {
        /// The address
        #[arg(value_parser = parse_address)]
        address: Resource,
        /// On this network; needed only where several have such an address
        #[arg(long, value_name = "NAME")]
        network: Option<String>,
        /// For so long; as `quarantine` of the network says if not given
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=31_536_000))]
        seconds: Option<u32>,
        /// How
        #[command(flatten)]
        asked: Asked,
    },
    /// Have the client of an address moved to another pool, when it renews or boots
    Drain {
        /// The address
        #[arg(value_parser = parse_address)]
        address: Resource,
        /// On this network; needed only where several have such an address
        #[arg(long, value_name = "NAME")]
        network: Option<String>,
        /// How
        #[command(flatten)]
        asked: Asked,
    },
    /// Let the client of an address stay that was to move
    Stay {
        /// The address
        #[arg(value_parser = parse_address)]
        address: Resource,
        /// On this network; needed only where several have such an address
        #[arg(long, value_name = "NAME")]
        network: Option<String>,
        /// How
        #[command(flatten)]
        asked: Asked,
    },
    /// End a quarantine, so that the address is free
    Lift {
        /// The address
        #[arg(value_parser = parse_address)]
        address: Resource,
        /// On this network; needed only where several have such an address
        #[arg(long, value_name = "NAME")]
        network: Option<String>,
        /// How
        #[command(flatten)]
        asked: Asked,
    },
    /// Write every lease, as CSV or JSON
    Export {
        /// csv or json; by the file's name if not given
        #[arg(long)]
        format: Option<Format>,
        /// Where to; standard output if not given
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Which server
        #[command(flatten)]
        target: Target,
    },
    /// Read leases that were exported, and take them over
    Import {
        /// CSV or JSON; `-` is standard input
        file: PathBuf,
        /// Say what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
        /// Print the outcome as JSON
        #[arg(long)]
        json: bool,
        /// Which server
        #[command(flatten)]
        target: Target,
    },
}

/// `telemetry`.
#[derive(Debug, Subcommand)]
pub enum Telemetry {
    /// Show how much of it there is
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Which server
        #[command(flatten)]
        target: Target,
    },
    /// List the instances that report, with the latest value of each metric
    Instances {
        /// Only of this account
        #[arg(long, value_name = "NAME")]
        account: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Which server
        #[command(flatten)]
        target: Target,
    },
    /// Show what one metric of one instance was
    History {
        /// The instance
        instance: String,
        /// The metric
        metric: String,
        /// Every value, or buckets of five minutes or an hour
        #[arg(long, default_value = "raw", value_parser = ["raw", "5m", "1h"])]
        resolution: String,
        /// From this time on, as in 2027-01-14T08:00:00Z; an hour ago if not given
        #[arg(long, value_name = "TIME")]
        from: Option<String>,
        /// Before this time
        #[arg(long, value_name = "TIME")]
        to: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Which server
        #[command(flatten)]
        target: Target,
    },
    /// Hand in a file of JSON lines
    Push {
        /// The file; `-` is standard input
        file: PathBuf,
        /// Which server
        #[command(flatten)]
        target: Target,
    },
    /// Show how the Prometheus targets did when they were last asked
    Scrapes {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Which server
        #[command(flatten)]
        target: Target,
    },
    /// List events: what happened, and what is known ahead
    Events {
        /// Only of this account, and those that concern everybody
        #[arg(long, value_name = "NAME")]
        account: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Which server
        #[command(flatten)]
        target: Target,
    },
}

/// `import`.
#[derive(Debug, clap::Args)]
pub struct Import {
    /// Whose lease file it is: dnsmasq, isc or kea
    #[arg(long, alias = "format", value_name = "SERVER")]
    pub from: Source,
    /// The lease file, of DHCPv4 or DHCPv6; of several the later ones count (Kea: FILE.completed
    /// FILE.2 FILE.1 FILE)
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The network that they belong to; by their subnet if not given
    #[arg(long, value_name = "NAME")]
    pub network: Option<String>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print the outcome as JSON
    #[arg(long)]
    pub json: bool,
    /// Which server
    #[command(flatten)]
    pub target: Target,
}

/// `status`.
#[derive(Debug, clap::Args)]
pub struct Status {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Which server
    #[command(flatten)]
    pub target: Target,
}

/// `reload`.
#[derive(Debug, clap::Args)]
pub struct Reload {
    /// There is none: who names a file is told what names a server
    #[arg(value_name = "FILE", hide = true, value_parser = refuse_file)]
    pub file: Option<Infallible>,
    /// Which server
    #[command(flatten)]
    pub target: Target,
}

/// `backup`.
#[derive(Debug, clap::Args)]
pub struct Backup {
    /// A directory that does not exist yet, and that the server may create
    pub directory: PathBuf,
    /// Which server
    #[command(flatten)]
    pub target: Target,
}

/// A positional file looks as if it were the one to read.
fn refuse_file(_: &str) -> Result<Infallible, String> {
    let why = "a server reads the file that it was started with: name the server by its \
               configuration with --config FILE, or by its socket with --socket PATH";
    Err(why.to_owned())
}

pub(super) fn parse_address(text: &str) -> Result<Resource, String> {
    text.parse().map_err(|()| "want an address".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::exit::Exit;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn help_lists_every_exit_code() {
        for (exit, _) in Exit::ALL {
            assert!(EXIT_CODES.contains(&format!("{} ", *exit as u8)), "{exit:?}");
        }
    }
}
