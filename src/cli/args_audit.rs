//! What may be typed to ask the audit.

use std::path::PathBuf;

use crate::base::{Resource, Timestamp};

use super::args::{Target, parse_address};
use super::when;

/// Which records.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Which {
    /// Only from this time on, as in `2026-11-24 14:03`, `yesterday 14:03` or RFC 3339
    #[arg(long = "from", value_name = "TIME", value_parser = when::parse)]
    pub begin: Option<Timestamp>,
    /// Only up to this time
    #[arg(long = "to", value_name = "TIME", value_parser = when::parse)]
    pub end: Option<Timestamp>,
    /// Only of this network
    #[arg(long, value_name = "NAME")]
    pub network: Option<String>,
    /// Only about this address or prefix, or one inside it
    #[arg(long, value_name = "ADDRESS")]
    pub address: Option<String>,
    /// Only of this account
    #[arg(long, value_name = "NAME")]
    pub account: Option<String>,
    /// Only of this hardware address or client key
    #[arg(long, value_name = "CLIENT")]
    pub client: Option<String>,
    /// Only of these kinds, as in granted,released,act
    #[arg(long, value_name = "KINDS")]
    pub kind: Option<String>,
}

/// `audit`.
#[derive(Debug, clap::Args)]
pub struct Audit {
    /// Which records
    #[command(flatten)]
    pub which: Which,
    /// How many, the newest first
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    pub limit: usize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Write every record, the oldest first, in this format
    #[arg(long, value_name = "FORMAT", value_parser = ["csv", "jsonl"], conflicts_with_all = ["limit", "json"])]
    pub export: Option<String>,
    /// Where to export to; standard output if not given
    #[arg(long, short, value_name = "FILE", requires = "export")]
    pub output: Option<PathBuf>,
    /// Which server
    #[command(flatten)]
    pub target: Target,
}

/// `who`.
#[derive(Debug, clap::Args)]
pub struct Who {
    /// The address or prefix
    #[arg(value_parser = parse_address)]
    pub address: Resource,
    /// At this time, as in `2026-11-24 14:03`, `tuesday 14:03` or RFC 3339; now if not given
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    pub at: Option<Timestamp>,
    /// On this network; on all that have such an address if not given
    #[arg(long, value_name = "NAME")]
    pub network: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Which server
    #[command(flatten)]
    pub target: Target,
}

/// `events`.
#[derive(Debug, clap::Args)]
pub struct Events {
    /// Go on when all is shown, until interrupted; the server may stop and start meanwhile
    #[arg(long, short)]
    pub follow: bool,
    /// Begin so many records before the end
    #[arg(long, value_name = "NUMBER", default_value_t = 10, conflicts_with = "position")]
    pub last: u64,
    /// Begin with the record of this number
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub position: Option<u64>,
    /// Which records
    #[command(flatten)]
    pub which: Which,
    /// Print JSON, one record a line
    #[arg(long)]
    pub json: bool,
    /// Which server
    #[command(flatten)]
    pub target: Target,
}
