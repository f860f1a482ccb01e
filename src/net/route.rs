//! Routes to delegated prefixes, in the kernel's main table.
//!
//! They carry a protocol number of their own, so that they are told from those of others, can be
//! listed after a restart, and are the only ones that are ever removed.

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::base::LinkId;

use super::netlink::{self, Table};

/// The origin of our routes (`proto 196` in iproute2): no routing daemon of
/// `/etc/iproute2/rt_protos` has it.
pub const PROTOCOL: u8 = 196;
/// Above the kernel's default of 1024: an operator's own route for a prefix wins, and is not
/// replaced.
const METRIC: u32 = 2048;

/// A route to a delegated prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route6 {
    /// Lowest address of the prefix.
    pub prefix: Ipv6Addr,
    /// Its length, 0 to 128.
    pub len: u8,
    /// The router that has it: its address, by the interface that is its scope; with scope 0 by
    /// the one that the kernel reaches it by.
    pub via: SocketAddrV6,
}

impl Route6 {
    /// The route to `prefix`/`len` by the router `via` on `link`.
    pub fn new(prefix: Ipv6Addr, len: u8, via: Ipv6Addr, link: LinkId) -> Route6 {
        Route6 { prefix, len, via: SocketAddrV6::new(via, 0, 0, link.0) }
    }
}

/// Installs and removes routes. Holds nothing: the kernel is the table.
#[derive(Clone, Copy, Debug, Default)]
pub struct RouteTable;

impl RouteTable {
    /// Installs a route; one of ours to the same prefix is replaced. Needs `CAP_NET_ADMIN`.
    pub fn add(&self, route: &Route6) -> io::Result<()> {
        let mut message = message(route.prefix, route.len);
        message.header.scope = RouteScope::Universe;
        message.header.kind = RouteType::Unicast;
        message.attributes.push(RouteAttribute::Gateway(RouteAddress::Inet6(*route.via.ip())));
        if route.via.scope_id() != 0 {
            message.attributes.push(RouteAttribute::Oif(route.via.scope_id()));
        }
        let request = RouteNetlinkMessage::NewRoute(message);
        netlink::change(request, NLM_F_CREATE | NLM_F_REPLACE)
            .map_err(|e| explain(e, "install", route.prefix, route.len))
    }

    /// Removes our route to a prefix; it is no error if there is none. Needs `CAP_NET_ADMIN`.
    pub fn remove(&self, prefix: Ipv6Addr, len: u8) -> io::Result<()> {
        let mut message = message(prefix, len);
        message.header.scope = RouteScope::NoWhere;
        match netlink::change(RouteNetlinkMessage::DelRoute(message), 0) {
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            other => other.map_err(|e| explain(e, "remove", prefix, len)),
        }
    }

    /// All our routes, in order of their prefixes.
    pub fn list(&self) -> io::Result<Vec<Route6>> {
        let mut routes = Vec::new();
        netlink::dump_messages(Table::Routes6, |message| {
            if let RouteNetlinkMessage::NewRoute(message) = message {
                routes.extend(ours(&message));
            }
        })?;
        routes.sort_unstable();
        Ok(routes)
    }
}

/// What all requests about our route to a prefix have in common.
fn message(prefix: Ipv6Addr, len: u8) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet6;
    message.header.destination_prefix_length = len;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Other(PROTOCOL);
    message.attributes.push(RouteAttribute::Destination(RouteAddress::Inet6(prefix)));
    message.attributes.push(RouteAttribute::Priority(METRIC));
    message
}

/// Reads a route of the kernel, if it is one of ours.
fn ours(message: &RouteMessage) -> Option<Route6> {
    let header = &message.header;
    if header.protocol != RouteProtocol::Other(PROTOCOL)
        || header.table != RouteHeader::RT_TABLE_MAIN
    {
        return None;
    }
    let (mut prefix, mut via, mut link) = (Ipv6Addr::UNSPECIFIED, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet6(addr)) => prefix = *addr,
            RouteAttribute::Gateway(RouteAddress::Inet6(addr)) => via = Some(*addr),
            RouteAttribute::Oif(index) => link = Some(LinkId(*index)),
            _ => {}
        }
    }
    Some(Route6::new(prefix, header.destination_prefix_length, via?, link?))
}

fn explain(e: io::Error, what: &str, prefix: Ipv6Addr, len: u8) -> io::Error {
    let why = match e.raw_os_error() {
        Some(libc::EPERM) => "it needs the capability CAP_NET_ADMIN".to_owned(),
        // What the kernel says of an interface without IPv6, whoever asks.
        Some(libc::EACCES) => format!("{e}: IPv6 may be disabled on the interface"),
        _ => e.to_string(),
    };
    io::Error::new(e.kind(), format!("cannot {what} the route to {prefix}/{len}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_eperm_is_a_missing_capability() {
        let said = |code| {
            let e = io::Error::from_raw_os_error(code);
            explain(e, "install", "2001:db8:8000::".parse().unwrap(), 56).to_string()
        };
        let route = "cannot install the route to 2001:db8:8000::/56: ";
        assert_eq!(said(libc::EPERM), format!("{route}it needs the capability CAP_NET_ADMIN"));
        let denied = "Permission denied (os error 13): IPv6 may be disabled on the interface";
        assert_eq!(said(libc::EACCES), format!("{route}{denied}"));
        assert_eq!(said(libc::ENODEV), format!("{route}No such device (os error 19)"));
    }
}
