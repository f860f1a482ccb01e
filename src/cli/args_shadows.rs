//! What may be typed about predictions and shadows, and about who is moved.

use std::path::PathBuf;

use clap::Subcommand;

use super::args::{Asked, parse_address};
use crate::base::Resource;

/// Whom something is foreseen for.
#[derive(Clone, Debug, clap::Args)]
pub struct Whom {
    /// On which network
    #[arg(long, value_name = "NAME")]
    pub network: String,
    /// For which account
    #[arg(long, value_name = "NAME")]
    pub account: String,
    /// For which of its applications; for any if not given
    #[arg(long, value_name = "NAME")]
    pub application: Option<String>,
}

/// `predict`.
#[derive(Debug, clap::Args)]
pub struct Predict {
    /// How many instances will start
    #[arg(allow_negative_numbers = true)]
    pub count: i64,
    /// For whom
    #[command(flatten)]
    pub whom: Whom,
    /// Within so many seconds; 900 if not given
    #[arg(long, value_name = "SECONDS")]
    pub horizon: Option<i64>,
    /// A quantile, and how many it will not be more than with that probability; may be given again
    #[arg(long = "quantile", value_name = "Q=COUNT", value_parser = quantile)]
    pub quantiles: Vec<(String, i64)>,
    /// What type of instance
    #[arg(long = "type", value_name = "NAME")]
    pub instance_type: Option<String>,
    /// Where
    #[arg(long, value_name = "NAME")]
    pub region: Option<String>,
    /// How
    #[command(flatten)]
    pub asked: Asked,
}

fn quantile(text: &str) -> Result<(String, i64), String> {
    let want = || "want a quantile and a count, as in 0.95=9".to_owned();
    let (quantile, count) = text.split_once('=').ok_or_else(want)?;
    Ok((quantile.into(), count.parse().map_err(|_| want())?))
}

/// `score`.
#[derive(Debug, clap::Args)]
pub struct Score {
    /// The address
    #[arg(value_parser = parse_address)]
    pub address: Resource,
    /// On this network; on all that have such an address if not given
    #[arg(long, value_name = "NAME")]
    pub network: Option<String>,
    /// How
    #[command(flatten)]
    pub asked: Asked,
}

/// `relocation`.
#[derive(Debug, clap::Args)]
pub struct Relocation {
    /// Of this network
    #[arg(long, value_name = "NAME")]
    pub network: String,
    /// How
    #[command(flatten)]
    pub asked: Asked,
}

/// `backtest`.
#[derive(Debug, clap::Args)]
pub struct Backtest {
    /// The event log: CSV with the columns time, event (create, delete or scheduled), account,
    /// application, instance and network
    #[arg(long, value_name = "FILE")]
    pub events: PathBuf,
    /// Addresses that are always ready, for each application on each network
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub ready: u32,
    /// Take no plan of the log (`scheduled`) for a prediction
    #[arg(long)]
    pub no_plans: bool,
    /// Predict what comes within so many seconds, and always rightly: the best there could be
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=604_800))]
    pub perfect: Option<u32>,
    /// How long a claimed address is not replaced, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(..=3600))]
    pub topup: u32,
    /// Draw the last day to this file
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `shadows`.
#[derive(Debug, Subcommand)]
pub enum Shadows {
    /// List the addresses that are held ahead of need
    List {
        /// Only on this network
        #[arg(long, value_name = "NAME")]
        network: Option<String>,
        /// Only for this account
        #[arg(long, value_name = "NAME")]
        account: Option<String>,
        /// Only for this application
        #[arg(long, value_name = "NAME")]
        application: Option<String>,
        /// How
        #[command(flatten)]
        asked: Asked,
    },
    /// Show what is foreseen now, and how much is held for it
    Predictions {
        /// Only for this account
        #[arg(long, value_name = "NAME")]
        account: Option<String>,
        /// How
        #[command(flatten)]
        asked: Asked,
    },
    /// Show the address that an instance would find ready
    Available {
        /// For whom
        #[command(flatten)]
        whom: Whom,
        /// Of IPv6
        #[arg(short = '6', long)]
        ipv6: bool,
        /// How
        #[command(flatten)]
        asked: Asked,
    },
    /// Hold addresses by hand
    Reserve {
        /// How many
        #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
        count: u32,
        /// For whom
        #[command(flatten)]
        whom: Whom,
        /// Of IPv6
        #[arg(short = '6', long)]
        ipv6: bool,
        /// For so long; `[shadow] max_age` if not given
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=2_592_000))]
        seconds: Option<u32>,
        /// How
        #[command(flatten)]
        asked: Asked,
    },
    /// Hold one for so long from now on
    Extend {
        /// The address
        #[arg(value_parser = parse_address)]
        address: Resource,
        /// On this network; needed only where several hold such an address
        #[arg(long, value_name = "NAME")]
        network: Option<String>,
        /// For so long
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=2_592_000))]
        seconds: u32,
        /// How
        #[command(flatten)]
        asked: Asked,
    },
    /// Give one back
    Release {
        /// The address
        #[arg(value_parser = parse_address)]
        address: Resource,
        /// On this network; needed only where several hold such an address
        #[arg(long, value_name = "NAME")]
        network: Option<String>,
        /// How
        #[command(flatten)]
        asked: Asked,
    },
    /// Say what came of an account's shadows since the server started
    Tally {
        /// The account
        account: String,
        /// How
        #[command(flatten)]
        asked: Asked,
    },
}
