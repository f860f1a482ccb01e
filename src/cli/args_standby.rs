//! What may be typed about standbys.

use clap::Subcommand;
use clap::builder::PossibleValuesParser;

use super::args_directory::Asked;

/// `standby`.
#[derive(Debug, clap::Args)]
pub struct Standby {
    /// What about them
    #[command(subcommand)]
    pub what: Standbys,
}

/// What about standbys.
#[derive(Debug, Subcommand)]
pub enum Standbys {
    /// List standbys
    List {
        /// Of this network alone
        #[arg(long, value_name = "NAME")]
        network: Option<String>,
        /// How
        #[command(flatten)]
        asked: Asked,
    },
    /// Show who stands by for whom, how far it is, and what is missing
    Show {
        /// Its id
        id: String,
        /// How
        #[command(flatten)]
        asked: Asked,
    },
    /// Name a standby: it gets the addresses of its active once its gate is in place
    Add(Box<NewStandbyWords>),
    /// Give the addresses to one, and wait until it has them
    Switch {
        /// Its id
        id: String,
        /// The active has failed: silence it first
        #[arg(long)]
        failed: bool,
        /// Though the standby is not ready, or outside of the windows of its network
        #[arg(long)]
        force: bool,
        /// When the next window of its network opens, if none is open
        #[arg(long, conflicts_with_all = ["failed", "force"])]
        in_window: bool,
        /// Look at everything that it would stumble over, and do nothing: fails if anything is bad
        #[arg(long)]
        dry_run: bool,
        /// How
        #[command(flatten)]
        asked: Asked,
    },
    /// Say how far one is
    Report {
        /// Its id
        id: String,
        /// How far it is; ready only behind its gate, and with the addresses
        #[arg(value_parser = PossibleValuesParser::new(["preparing", "synced", "ready"]))]
        state: Option<String>,
        /// How much of the state of the active is there, in percent
        #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
        progress: Option<u8>,
        /// How
        #[command(flatten)]
        asked: Asked,
    },
    /// Say how the active is, as something within it reports, or that it is being migrated: its
    /// silence is no failure then
    Active {
        /// The id of its standby
        id: String,
        /// How it is
        #[arg(value_parser = PossibleValuesParser::new(["well", "failing", "migrating", "migrated"]))]
        state: String,
        /// How
        #[command(flatten)]
        asked: Asked,
    },
    /// Drop one: the addresses are its active's alone again
    Drop {
        /// Its id
        id: String,
        /// How
        #[command(flatten)]
        asked: Asked,
    },
}

/// `standby add`.
#[derive(Debug, clap::Args)]
pub struct NewStandbyWords {
    /// The network of both
    #[arg(long, value_name = "NAME")]
    pub network: String,
    /// What to call it; made if not given
    #[arg(long)]
    pub id: Option<String>,
    /// An address or prefix that they are to share; may be given several times, and all that the
    /// active has if not given
    #[arg(long = "address", value_name = "ADDRESS")]
    pub addresses: Vec<String>,
    /// The MAC of the active, unless an address is leased to it
    #[arg(long, value_name = "MAC")]
    pub active_mac: Option<String>,
    /// The interface of its port on the bridge of its host
    #[arg(long, value_name = "INTERFACE")]
    pub active_port: Option<String>,
    /// The agent that has that port; that of this host if not given
    #[arg(long, value_name = "HOST")]
    pub active_host: Option<String>,
    /// The MAC of the standby
    #[arg(long, value_name = "MAC")]
    pub standby_mac: String,
    /// The interface of its port on the bridge of its host
    #[arg(long, value_name = "INTERFACE")]
    pub standby_port: Option<String>,
    /// The agent that has that port; that of this host if not given
    #[arg(long, value_name = "HOST")]
    pub standby_host: Option<String>,
    /// The name that the standby is told
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// What is done when the active has failed; by default what the network says
    #[arg(long, value_parser = PossibleValuesParser::new(["alert", "switch"]))]
    pub on_failure: Option<String>,
    /// Whether it may take over though nobody confirms that the active is silenced
    #[arg(long, value_parser = PossibleValuesParser::new(["deny", "allow"]))]
    pub unfenced: Option<String>,
    /// How long it may take to become ready; by default what the network says
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(60..=2_592_000))]
    pub timeout: Option<u32>,
    /// How
    #[command(flatten)]
    pub asked: Asked,
}
