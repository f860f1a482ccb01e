//! Which classes a client belongs to.

use std::net::Ipv4Addr;

use crate::base::{HwAddr, name};
use crate::config::policy::{Class, ClassId, Matcher, Pattern};
use crate::wire::{Hop, Message, Message6, RelayInfo};

/// The classes of one client, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classes(Vec<ClassId>);

impl Classes {
    /// The classes whose matchers fit.
    pub fn of(
        classes: &[Class],
        msg: &Message<'_>,
        hw: &HwAddr,
        relay: Option<&RelayInfo<'_>>,
    ) -> Classes {
        let fits = |c: &(usize, &Class)| matches(&c.1.matcher, msg, hw, relay);
        Classes(classes.iter().enumerate().filter(fits).map(|(i, _)| ClassId(i as u16)).collect())
    }

    /// The same for a DHCPv6 client.
    pub fn of6(
        classes: &[Class],
        msg: &Message6<'_>,
        hw: Option<&HwAddr>,
        hops: &[Hop<'_>],
    ) -> Classes {
        let fits = |c: &(usize, &Class)| matches6(&c.1.matcher, msg, hw, hops);
        Classes(classes.iter().enumerate().filter(fits).map(|(i, _)| ClassId(i as u16)).collect())
    }

    /// Whether it belongs to this one.
    pub fn has(&self, class: ClassId) -> bool {
        self.0.binary_search(&class).is_ok()
    }

    /// All of them, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = ClassId> + '_ {
        self.0.iter().copied()
    }
}

fn matches(m: &Matcher, msg: &Message<'_>, hw: &HwAddr, relay: Option<&RelayInfo<'_>>) -> bool {
    let relay_is = |wanted: &[Box<[u8]>], got: Option<&[u8]>| {
        wanted.is_empty() || got.is_some_and(|id| wanted.iter().any(|w| **w == *id))
    };
    !m.only_v6()
        && any(&m.mac_prefix, |prefix| hw.bytes().starts_with(prefix))
        && any(&m.arch, |arch| msg.archs().any(|a| a == *arch))
        && glob(&m.vendor_class, || msg.vendor_class())
        && any(&m.user_class, |p| user_class_is(p, msg))
        && any(&m.hostname, |p| hostname(msg).is_some_and(|h| p.matches(h.as_bytes())))
        && relay_is(&m.circuit_id, relay.and_then(|r| r.circuit_id()))
        && relay_is(&m.remote_id, relay.and_then(|r| r.remote_id()))
        && any(&m.giaddr, |p| msg.giaddr() != Ipv4Addr::UNSPECIFIED && p.contains(msg.giaddr()))
}

fn matches6(m: &Matcher, msg: &Message6<'_>, hw: Option<&HwAddr>, hops: &[Hop<'_>]) -> bool {
    let hop = hops.last();
    let is = |wanted: &[Box<[u8]>], got: Option<&[u8]>| {
        wanted.is_empty() || got.is_some_and(|id| wanted.iter().any(|w| **w == *id))
    };
    let name = || msg.fqdn()?.name();
    !m.only_v4()
        && any(&m.mac_prefix, |prefix| hw.is_some_and(|hw| hw.bytes().starts_with(prefix)))
        && any(&m.duid_prefix, |p| msg.client_id().is_some_and(|id| id.starts_with(p)))
        && any(&m.arch, |arch| msg.archs().any(|a| a == *arch))
        && any(&m.vendor_class, |p| {
            msg.vendor_classes().any(|class| class.items().any(|item| p.matches(item)))
        })
        && any(&m.user_class, |p| msg.user_classes().any(|class| p.matches(class)))
        && any(&m.hostname, |p| name().is_some_and(|n| p.matches(n.as_bytes())))
        && is(&m.remote_id, hop.and_then(|h| h.remote_id()).map(|(_, id)| id))
        && is(&m.interface_id, hop.and_then(|h| h.interface_id()))
        && is(&m.subscriber_id, hop.and_then(|h| h.subscriber_id()))
        && any(&m.link_address, |p| hop.is_some_and(|h| p.contains(h.link_addr)))
}

/// The client's name, cleaned: of option 12, else of option 81.
pub fn hostname(msg: &Message<'_>) -> Option<Box<str>> {
    let plain = msg.hostname().and_then(|raw| name::clean_hostname(&raw));
    plain.or_else(|| msg.fqdn()?.name().and_then(|n| name::clean_hostname(n.as_bytes())))
}

fn user_class_is(pattern: &Pattern, msg: &Message<'_>) -> bool {
    msg.user_classes().any(|class| pattern.matches(&class))
        || msg.user_class().is_some_and(|whole| pattern.matches(&whole))
}

fn glob<'a>(
    patterns: &[Pattern],
    value: impl FnOnce() -> Option<std::borrow::Cow<'a, [u8]>>,
) -> bool {
    patterns.is_empty() || value().is_some_and(|v| patterns.iter().any(|p| p.matches(&v)))
}

fn any<T>(wanted: &[T], fits: impl FnMut(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(fits)
}
