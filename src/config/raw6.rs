//! The IPv6 part of the file as it was read; see [`raw`](super::raw).

use std::net::Ipv6Addr;
use std::sync::Arc;

use crate::base::{Prefix6, Range6, Span};

use super::fault::Place;
use super::node::At;
use super::policy::{Bytes, ClassId, Generate, HostId6, PrefixExclude};
use super::raw::RawSettings;

/// What a network says of IPv6.
#[derive(Default)]
pub(super) struct RawNetwork6 {
    pub(super) preference: Option<u8>,
    pub(super) relays: Vec<At<Prefix6>>,
    pub(super) ra: Option<RawRa>,
    pub(super) subnets: Vec<RawSubnet6>,
    /// Those below the network; those below a subnet are there.
    pub(super) reservations: Vec<RawReservation6>,
}

/// `[network.router_advertisements]`, as far as it was said.
pub(super) struct RawRa {
    pub(super) place: Place,
    pub(super) managed: Option<bool>,
    pub(super) other: Option<bool>,
    pub(super) router: bool,
    pub(super) router_lifetime: Option<At<Span>>,
    pub(super) min_interval: Option<At<Span>>,
    pub(super) max_interval: Option<At<Span>>,
    pub(super) mtu: Option<u32>,
    pub(super) prefixes: Option<Vec<RawRaPrefix>>,
    pub(super) rdnss: Option<Vec<Ipv6Addr>>,
    pub(super) dnssl: Option<Vec<Arc<str>>>,
    pub(super) dns_lifetime: Option<At<Span>>,
    pub(super) pref64: Option<Prefix6>,
    pub(super) pref64_lifetime: Option<At<Span>>,
    pub(super) goodbye: bool,
}

/// `[[network.router_advertisements.prefix]]`.
pub(super) struct RawRaPrefix {
    pub(super) prefix: At<Prefix6>,
    pub(super) on_link: bool,
    pub(super) autonomous: bool,
    pub(super) valid: Option<At<Span>>,
    pub(super) preferred: Option<At<Span>>,
}

/// `[[network.subnet]]` with an IPv6 prefix.
pub(super) struct RawSubnet6 {
    pub(super) prefix: Option<At<Prefix6>>,
    pub(super) region: Option<Arc<str>>,
    /// Pools or delegations are written, even if what they say is wrong.
    pub(super) has_pools: bool,
    pub(super) pools: Vec<RawPool6>,
    pub(super) delegations: Vec<RawDelegation>,
    pub(super) interface_ids: Vec<At<Bytes>>,
    pub(super) reservations: Vec<RawReservation6>,
    pub(super) settings: RawSettings,
}

/// `[[network.subnet.pool]]`, or one entry of `pools`.
pub(super) struct RawPool6 {
    pub(super) range: At<Range6>,
    /// Written as a prefix, which leaves out the subnet's anycast address by itself.
    pub(super) is_prefix: bool,
    pub(super) exclude: Vec<At<Range6>>,
    pub(super) generate: Option<Generate>,
    pub(super) allow: Vec<ClassId>,
    pub(super) deny: Vec<ClassId>,
    pub(super) settings: RawSettings,
}

/// `[[network.subnet.delegation]]`, or one entry of `delegations`.
pub(super) struct RawDelegation {
    pub(super) prefix: At<Prefix6>,
    pub(super) length: Option<At<u8>>,
    pub(super) min_length: Option<At<u8>>,
    pub(super) max_length: Option<At<u8>>,
    pub(super) exclude: Option<At<PrefixExclude>>,
    pub(super) allow: Vec<ClassId>,
    pub(super) deny: Vec<ClassId>,
    pub(super) install_route: bool,
    pub(super) settings: RawSettings,
}

/// The IPv6 part of `[[network.reservation]]`.
pub(super) struct RawReservation6 {
    pub(super) host: Option<At<HostId6>>,
    pub(super) addrs: Vec<At<Ipv6Addr>>,
    pub(super) prefixes: Vec<At<Prefix6>>,
    pub(super) hostname: Option<Arc<str>>,
    pub(super) settings: RawSettings,
}
