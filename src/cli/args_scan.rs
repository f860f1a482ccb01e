//! What may be typed to compare a network with what is bound on it.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::base::{Mac, Prefix4, Prefix6, Range4, Range6};

use super::args_directory::Asked;

/// `scan`.
#[derive(Debug, clap::Args)]
pub struct Scan {
    /// Ask the running server about this network; about all if neither this nor --interface is given
    #[arg(long, value_name = "NAME", conflicts_with = "interface")]
    pub network: Option<String>,
    /// Ask this interface without a server
    #[arg(long, value_name = "NAME", requires = "subnet")]
    pub interface: Option<String>,
    /// What is asked on it: a subnet of IPv4 or IPv6; may be given again
    #[arg(long, value_name = "PREFIX", value_parser = subnet, requires = "interface")]
    pub subnet: Vec<Subnet>,
    /// Addresses that only the server gives out; may be given again
    #[arg(long, value_name = "FIRST-LAST", value_parser = pool, requires = "interface")]
    pub pool: Vec<Pool>,
    /// Who leases what: JSON, a list of {"ip", "mac"}; read again before each sweep
    #[arg(long, value_name = "FILE", requires = "interface")]
    pub leases: Option<PathBuf>,
    /// Addresses that two hosts share: JSON, a list of {"ip", "active", "standby"}
    #[arg(long, value_name = "FILE", requires = "interface")]
    pub pairs: Option<PathBuf>,
    /// A DHCP server that may be there, by its address or MAC; may be given again
    #[arg(long, value_name = "ADDRESS", value_parser = speaker, requires = "interface")]
    pub server: Vec<Speaker>,
    /// A router that may advertise itself, and answer for others, by its address or MAC; may be
    /// given again
    #[arg(long, value_name = "ADDRESS", value_parser = speaker, requires = "interface")]
    pub router: Vec<Speaker>,
    /// MACs of one host, which may answer with any of them; may be given again
    #[arg(long, value_name = "MAC,MAC", value_parser = host, requires = "interface")]
    pub host: Vec<Host>,
    /// Ask the pools and what is leased alone, not whole subnets
    #[arg(long, requires = "interface")]
    pub pools_only: bool,
    /// Send no DISCOVER, SOLICIT or router solicitation: notice servers by listening
    #[arg(long, requires = "interface")]
    pub no_probe: bool,
    /// Questions a second, at most
    #[arg(long, value_name = "NUMBER", default_value_t = 500, requires = "interface")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: u32,
    /// Go on for so long, sweep after sweep
    #[arg(long, value_name = "SECONDS", requires = "interface")]
    #[arg(value_parser = seconds)]
    pub seconds: Option<f64>,
    /// Sweep now, and end when that is done; with --interface so unless --seconds is given
    #[arg(long, conflicts_with = "seconds")]
    pub once: bool,
    /// How
    #[command(flatten)]
    pub asked: Asked,
}

/// A subnet of either family.
#[derive(Clone, Copy, Debug)]
pub enum Subnet {
    /// Of IPv4.
    V4(Prefix4),
    /// Of IPv6.
    V6(Prefix6),
}

/// A range of either family.
#[derive(Clone, Copy, Debug)]
pub enum Pool {
    /// Of IPv4.
    V4(Range4),
    /// Of IPv6.
    V6(Range6),
}

/// A server or router.
#[derive(Clone, Copy, Debug)]
pub enum Speaker {
    /// By its address.
    Addr(IpAddr),
    /// By its hardware address.
    Mac(Mac),
}

/// The hardware addresses of one host.
#[derive(Clone, Debug)]
pub struct Host(pub Vec<Mac>);

fn subnet(text: &str) -> Result<Subnet, String> {
    let v4 = text.parse().map(Subnet::V4);
    v4.or_else(|()| text.parse().map(Subnet::V6))
        .map_err(|()| "want a subnet, as in 10.0.0.0/24 or 2001:db8::/64".to_owned())
}

fn pool(text: &str) -> Result<Pool, String> {
    let want = || "want a first and a last address, as in 10.0.0.50-10.0.0.99".to_owned();
    let (first, last) = text.split_once('-').ok_or_else(want)?;
    let parsed = (first.parse(), last.parse());
    match parsed {
        (Ok(IpAddr::V4(first)), Ok(IpAddr::V4(last))) if first <= last => {
            Ok(Pool::V4(Range4 { first, last }))
        }
        (Ok(IpAddr::V6(first)), Ok(IpAddr::V6(last))) if first <= last => {
            Ok(Pool::V6(Range6 { first, last }))
        }
        _ => Err(want()),
    }
}

fn speaker(text: &str) -> Result<Speaker, String> {
    let addr = text.parse().map(Speaker::Addr).map_err(|_| ());
    addr.or_else(|()| text.parse().map(Speaker::Mac))
        .map_err(|()| "want an address or a MAC".to_owned())
}

fn host(text: &str) -> Result<Host, String> {
    let macs: Result<Vec<Mac>, ()> = text.split(',').map(str::parse).collect();
    let macs = macs.ok().filter(|macs| macs.len() > 1);
    macs.map(Host).ok_or_else(|| "want MACs, parted by commas".to_owned())
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.0..=31_536_000.0).contains(seconds));
    seconds.ok_or_else(|| "want seconds, up to a year".to_owned())
}
