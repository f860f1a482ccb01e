//! What may be typed about instances, reservations, accounts and applications.

use std::str::FromStr;

use clap::Subcommand;
use clap::builder::PossibleValuesParser;

use super::args::Target;

/// Something to say, or `none` to take it back.
#[derive(Clone, Debug)]
pub enum Setting<T> {
    /// This.
    Some(T),
    /// Nothing any more.
    None,
}

fn setting<T: FromStr>(text: &str) -> Result<Setting<T>, String> {
    match text {
        "none" => Ok(Setting::None),
        _ => text.parse().map(Setting::Some).map_err(|_| "want a number, or none".into()),
    }
}

/// Whether and how a list of something is printed, and of which server.
#[derive(Debug, clap::Args)]
pub struct Asked {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Which server
    #[command(flatten)]
    pub target: Target,
}

/// `instances`.
#[derive(Debug, Subcommand)]
pub enum Instances {
    /// List registered instances
    List {
        /// Only of this account
        #[arg(long, value_name = "NAME")]
        account: Option<String>,
        /// Only of this application
        #[arg(long, value_name = "NAME")]
        application: Option<String>,
        /// Only of this network
        #[arg(long, value_name = "NAME")]
        network: Option<String>,
        /// How
        #[command(flatten)]
        asked: Asked,
    },
    /// Show all that is known of one
    Show {
        /// Its id
        id: String,
        /// How
        #[command(flatten)]
        asked: Asked,
    },
    /// Register one before it boots, and show its addresses
    Create(Box<NewInstance>),
    /// Change what is said of one; its addresses stay
    Change {
        /// Its id
        id: String,
        /// Its MAC from now on
        #[arg(long)]
        mac: Option<String>,
        /// Its DUID from now on, in hexadecimal
        #[arg(long, value_name = "HEX")]
        duid: Option<String>,
        /// The name it is told; none if empty
        #[arg(long, value_name = "NAME")]
        hostname: Option<String>,
        /// Where it runs; nowhere if empty
        #[arg(long)]
        region: Option<String>,
        /// A tag, in the place of all that it has; may be given several times
        #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = tag)]
        tags: Vec<(String, String)>,
        /// How
        #[command(flatten)]
        asked: Asked,
    },
    /// End one: what it has ends at once
    End {
        /// Its id
        id: String,
        /// How
        #[command(flatten)]
        asked: Asked,
    },
}

/// `instances create`.
#[derive(Debug, clap::Args)]
pub struct NewInstance {
    /// The network that it will be on
    #[arg(long, value_name = "NAME")]
    pub network: String,
    /// What to call it; made if not given
    #[arg(long)]
    pub id: Option<String>,
    /// Whom it belongs to
    #[arg(long, value_name = "NAME")]
    pub account: Option<String>,
    /// What runs in it
    #[arg(long, value_name = "NAME", requires = "account")]
    pub application: Option<String>,
    /// Its MAC; without it, a DUID and a port, one is made for it to boot with
    #[arg(long)]
    pub mac: Option<String>,
    /// Its DUID, in hexadecimal
    #[arg(long, value_name = "HEX")]
    pub duid: Option<String>,
    /// The circuit id or interface-id of its port, in hexadecimal
    #[arg(long, value_name = "HEX")]
    pub port_id: Option<String>,
    /// The name it is told
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// Where it runs
    #[arg(long)]
    pub region: Option<String>,
    /// Whatever it is to be found by; may be given several times
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = tag)]
    pub tags: Vec<(String, String)>,
    /// Which of the network's IPv4 subnets, where it has several behind relays
    #[arg(long, value_name = "PREFIX")]
    pub subnet: Option<String>,
    /// The same for IPv6
    #[arg(long, value_name = "PREFIX")]
    pub subnet6: Option<String>,
    /// The IPv4 address that it would like
    #[arg(long)]
    pub address: Option<String>,
    /// The IPv6 address that it would like
    #[arg(long, value_name = "ADDRESS")]
    pub address6: Option<String>,
    /// How
    #[command(flatten)]
    pub asked: Asked,
}

/// `accounts`.
#[derive(Debug, Subcommand)]
pub enum Accounts {
    /// List accounts: those of the configuration file, and those made at run time
    List {
        /// How
        #[command(flatten)]
        asked: Asked,
    },
    /// Show what one may have, and how much it has
    Show {
        /// Its name
        name: String,
        /// How
        #[command(flatten)]
        asked: Asked,
    },
    /// Make one
    Add {
        /// Its name
        name: String,
        /// What it may have
        #[command(flatten)]
        of: AccountWords,
    },
    /// Change one that was made at run time; what is not said stays
    Change {
        /// Its name
        name: String,
        /// What it may have
        #[command(flatten)]
        of: AccountWords,
    },
    /// Remove one that has nothing any more, with its applications
    Remove {
        /// Its name
        name: String,
        /// How
        #[command(flatten)]
        asked: Asked,
    },
}

/// What is said of an account.
#[derive(Debug, clap::Args)]
pub struct AccountWords {
    /// Limits
    #[command(flatten)]
    pub terms: TermsWords,
    /// A network that it may use, or `none` for all of them; may be given several times
    #[arg(long = "network", value_name = "NAME")]
    pub networks: Vec<String>,
    /// A prefix or range that its pools lie in, or `none` for all pools; may be given several times
    #[arg(long = "pool", value_name = "RANGE")]
    pub pools: Vec<String>,
    /// How
    #[command(flatten)]
    pub asked: Asked,
}

/// `applications`.
#[derive(Debug, Subcommand)]
pub enum Applications {
    /// List the applications of an account
    List {
        /// The account
        account: String,
        /// How
        #[command(flatten)]
        asked: Asked,
    },
    /// Show what one may have, and how much it has
    Show {
        /// The account
        account: String,
        /// Its name
        name: String,
        /// How
        #[command(flatten)]
        asked: Asked,
    },
    /// Make one
    Add {
        /// The account
        account: String,
        /// Its name
        name: String,
        /// What it may have
        #[command(flatten)]
        terms: TermsWords,
        /// How
        #[command(flatten)]
        asked: Asked,
    },
    /// Change one that was made at run time; what is not said stays
    Change {
        /// The account
        account: String,
        /// Its name
        name: String,
        /// What it may have
        #[command(flatten)]
        terms: TermsWords,
        /// How
        #[command(flatten)]
        asked: Asked,
    },
    /// Remove one that has nothing any more
    Remove {
        /// The account
        account: String,
        /// Its name
        name: String,
        /// How
        #[command(flatten)]
        asked: Asked,
    },
}

/// What an account or an application may have; `none` takes a limit away.
#[derive(Debug, clap::Args)]
pub struct TermsWords {
    /// Service level: priority 2, 5 or 8
    #[arg(long, value_parser = PossibleValuesParser::new(["economy", "standard", "premium", "none"]))]
    pub level: Option<String>,
    /// 0 to 9; by default that of its level
    #[arg(long, value_parser = setting::<u8>)]
    pub priority: Option<Setting<u8>>,
    /// Most addresses of both protocols together
    #[arg(long, value_name = "COUNT", value_parser = setting::<u64>)]
    pub max_addresses: Option<Setting<u64>>,
    /// Most delegated prefixes
    #[arg(long, value_name = "COUNT", value_parser = setting::<u64>)]
    pub max_prefixes: Option<Setting<u64>>,
    /// Most standbys of its instances
    #[arg(long, value_name = "COUNT", value_parser = setting::<u64>)]
    pub max_standbys: Option<Setting<u64>>,
    /// Exchanges that its clients begin and instances that it creates, in a second
    #[arg(long, value_name = "RATE", value_parser = setting::<u32>)]
    pub requests_per_s: Option<Setting<u32>>,
    /// How many of them may come at once
    #[arg(long, value_name = "COUNT", value_parser = setting::<u32>)]
    pub requests_burst: Option<Setting<u32>>,
    /// How long addresses of its ended instances are kept back at least
    #[arg(long, value_name = "SECONDS", value_parser = setting::<u32>)]
    pub hold_min: Option<Setting<u32>>,
    /// How long they are kept back at most
    #[arg(long, value_name = "SECONDS", value_parser = setting::<u32>)]
    pub hold_max: Option<Setting<u32>>,
    /// Addresses of each protocol that are always held ready, on each network
    #[arg(long, value_name = "COUNT", value_parser = setting::<u32>)]
    pub shadow_ready: Option<Setting<u32>>,
    /// Most addresses that are held ahead of need, of each protocol on each network
    #[arg(long, value_name = "COUNT", value_parser = setting::<u32>)]
    pub shadow_max: Option<Setting<u32>>,
    /// Which quantile of a prediction is held ready; by default that of its level
    #[arg(long, value_name = "PERCENT", value_parser = setting::<u8>)]
    pub shadow_quantile: Option<Setting<u8>>,
    /// Whether addresses next to each other are held where there are some
    #[arg(long, value_name = "BOOL", value_parser = setting::<bool>)]
    pub shadow_contiguous: Option<Setting<bool>>,
    /// Whether addresses that its instances had before are held first
    #[arg(long, value_name = "BOOL", value_parser = setting::<bool>)]
    pub shadow_sticky: Option<Setting<bool>>,
    /// Tiers of a pool that it uses, the first one that has room; repeat it
    #[arg(long, value_parser = PossibleValuesParser::new(["hot", "warm", "cold", "none"]))]
    pub tier: Vec<String>,
}

/// `reservations`.
#[derive(Debug, Subcommand)]
pub enum Reservations {
    /// List reservations: those made at run time, then those of the configuration file
    List {
        /// Only of this network
        #[arg(long, value_name = "NAME")]
        network: Option<String>,
        /// How
        #[command(flatten)]
        asked: Asked,
    },
    /// Show one
    Show {
        /// Its id; NETWORK@ADDRESS of one in the configuration file
        id: String,
        /// How
        #[command(flatten)]
        asked: Asked,
    },
    /// Make one; who has the address now keeps it to its end
    Add {
        /// The network
        #[arg(long, value_name = "NAME")]
        network: String,
        /// What to call it; made if not given
        #[arg(long)]
        id: Option<String>,
        /// For whom, and what
        #[command(flatten)]
        of: Box<ReservationWords>,
    },
    /// Change one that was made at run time; what is not said stays, and `none` takes it away
    Change {
        /// Its id
        id: String,
        /// For whom, and what
        #[command(flatten)]
        of: Box<ReservationWords>,
    },
    /// Remove one that was made at run time; what its client has is an ordinary lease from then on
    Remove {
        /// Its id
        id: String,
        /// How
        #[command(flatten)]
        asked: Asked,
    },
}

/// What is said of a reservation.
#[derive(Debug, clap::Args)]
pub struct ReservationWords {
    /// The hardware address of its client
    #[arg(long)]
    pub mac: Option<String>,
    /// The DUID of its client, in hexadecimal
    #[arg(long, value_name = "HEX")]
    pub duid: Option<String>,
    /// The client identifier of its client (DHCPv4), in hexadecimal
    #[arg(long, value_name = "HEX")]
    pub client_id: Option<String>,
    /// The circuit id or interface-id of its client's port, in hexadecimal
    #[arg(long, value_name = "HEX")]
    pub port_id: Option<String>,
    /// The name that its client is told
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// Its IPv4 address
    #[arg(long)]
    pub address: Option<String>,
    /// An IPv6 address; may be given several times
    #[arg(long = "address6", value_name = "ADDRESS")]
    pub addresses6: Vec<String>,
    /// A delegated prefix; may be given several times
    #[arg(long = "prefix", value_name = "PREFIX")]
    pub prefixes: Vec<String>,
    /// Whom its client belongs to
    #[arg(long, value_name = "NAME")]
    pub account: Option<String>,
    /// What runs in its client
    #[arg(long, value_name = "NAME")]
    pub application: Option<String>,
    /// How
    #[command(flatten)]
    pub asked: Asked,
}

fn tag(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').ok_or("want KEY=VALUE")?;
    Ok((parts.0.into(), parts.1.into()))
}
