//! What other DHCP servers know about their clients, read from their lease files.
//!
//! Text in, leases out: nothing here opens a file or reads a clock. What cannot be mapped is
//! reported with its line and never guessed. Entries that are over are imported too: they say
//! which address a client had, and it shall have it again.

pub mod dnsmasq;
pub mod isc;
mod isc6;
pub mod kea;
mod kea6;

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::base::name::clean_hostname;
use crate::base::{ClientKey, HwAddr, Resource, Timestamp};

/// Longest client identifier: what one option holds.
const CLIENT_ID_MAX: usize = 255;
/// A DUID: its type of two bytes, then 1 to 128 bytes (RFC 9915 s11.1).
const DUID_BYTES: std::ops::RangeInclusive<usize> = 3..=130;

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// dnsmasq's leases file.
    Dnsmasq,
    /// dhcpd.leases and dhcpd6.leases of ISC DHCP.
    Isc,
    /// The memfiles (CSV) of Kea.
    Kea,
}

impl FromStr for Source {
    type Err = String;
    fn from_str(text: &str) -> Result<Source, String> {
        match text {
            "dnsmasq" => Ok(Source::Dnsmasq),
            "isc" | "dhcpd" => Ok(Source::Isc),
            "kea" => Ok(Source::Kea),
            other => Err(format!("`{other}` is unknown, want dnsmasq, isc or kea")),
        }
    }
}

/// One client's lease at the other server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Where it was found.
    pub line: u64,
    /// The address or prefix.
    pub resource: Resource,
    /// Option 61 as the client sent it; of DHCPv6 the DUID and IAID.
    pub client: Option<ClientKey>,
    /// Hardware address, where the file has it. It is not taken from a DUID: that may be of
    /// another interface, and a client that seems to have changed its hardware may be taken for a
    /// clone and lose what it has.
    pub hw: Option<HwAddr>,
    /// Host name, cleaned.
    pub hostname: Option<Box<str>>,
    /// When the client got it, if the file says so.
    pub since: Option<Timestamp>,
    /// When it ends or ended.
    pub until: Timestamp,
    /// Whether it is in force.
    pub bond: Bond,
}

/// What binds the client to the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bond {
    /// A lease, perhaps one that ran out while the server was down.
    Leased,
    /// A lease that is over.
    Expired,
    /// A lease that was given back or deleted.
    Released,
    /// None: a client found the address in use.
    Declined,
}

impl Bond {
    /// The state that the lease gets here, by name.
    pub fn as_str(self) -> &'static str {
        match self {
            Bond::Leased => "leased",
            Bond::Expired => "expired",
            Bond::Released => "released",
            Bond::Declined => "declined",
        }
    }
}

/// A part of the file that has no meaning here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmapped {
    /// Its line.
    pub line: u64,
    /// Why.
    pub why: String,
}

/// What a file holds: one entry for each address, in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Import {
    /// By address; where a file has several entries for one, the last counts.
    pub leases: BTreeMap<Resource, Imported>,
    /// What could not be mapped.
    pub unmapped: Vec<Unmapped>,
    /// The DUID by which DHCPv6 clients know the other server, if the file has leases of theirs
    /// and says it.
    pub server_duid: Option<Vec<u8>>,
}

impl Import {
    fn add(&mut self, lease: Imported) {
        self.leases.insert(lease.resource, lease);
    }

    fn skip(&mut self, line: u64, why: impl Into<String>) {
        self.unmapped.push(Unmapped { line, why: why.into() });
    }

    /// Whether any lease is one of DHCPv6.
    pub fn has_v6(&self) -> bool {
        // IPv4 comes first in the order of resources.
        self.leases.last_key_value().is_some_and(|(last, _)| last.v4().is_none())
    }

    /// Adds what a newer file of the same server says.
    pub fn update(&mut self, newer: Import) {
        self.server_duid = newer.server_duid.or(self.server_duid.take());
        self.leases.extend(newer.leases);
        self.unmapped.extend(newer.unmapped);
    }
}

/// Reads a lease file.
pub fn parse(source: Source, text: &str) -> Import {
    let mut import = match source {
        Source::Dnsmasq => dnsmasq::parse(text),
        Source::Isc => isc::parse(text),
        Source::Kea => kea::parse(text),
    };
    // dhcpd writes one for IPv4 too, which is not that of its DHCPv6 server.
    if !import.has_v6() {
        import.server_duid = None;
    }
    import
}

/// The DUID that Kea's `kea-dhcp6-serverid` holds.
pub fn kea_server_duid(text: &str) -> Option<Vec<u8>> {
    duid(text.trim()).ok()
}

/// A host name, cleaned as one from the wire is.
fn hostname(text: &str) -> Option<Box<str>> {
    clean_hostname(text.as_bytes())
}

/// A client identifier in hexadecimal; on error what it is.
fn client_id(hex: &str) -> Result<ClientKey, String> {
    crate::base::addr::parse_hex(hex)
        .filter(|id| (1..=CLIENT_ID_MAX).contains(&id.len()))
        .map(|id| ClientKey::client_id(&id))
        .ok_or_else(|| format!("client id is `{}`, want 1 to 255 bytes", shown(hex)))
}

/// A DUID in hexadecimal; on error what it is.
fn duid(hex: &str) -> Result<Vec<u8>, String> {
    crate::base::addr::parse_hex(hex)
        .filter(|duid| DUID_BYTES.contains(&duid.len()))
        .ok_or_else(|| format!("DUID is `{}`, want 3 to 130 bytes", shown(hex)))
}

/// The beginning of a text, for messages: guests choose names, and terminals obey what is no text.
fn shown(text: &str) -> String {
    const MOST: usize = 40;
    let mut chars = text.chars();
    let mut out = String::new();
    for c in chars.by_ref().take(MOST) {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    if chars.next().is_some() {
        out.push_str("...");
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(super) const FIXTURES: [(Source, &str); 6] = [
        (Source::Dnsmasq, include_str!("../../tests/import/dnsmasq.leases")),
        (Source::Isc, include_str!("../../tests/import/dhcpd.leases")),
        (Source::Kea, include_str!("../../tests/import/kea-leases4.csv")),
        (Source::Dnsmasq, include_str!("../../tests/import/dnsmasq6.leases")),
        (Source::Isc, include_str!("../../tests/import/dhcpd6.leases")),
        (Source::Kea, include_str!("../../tests/import/kea-leases6.csv")),
    ];

    #[test]
    fn newer_files_win() {
        let file = |name: &str| {
            parse(Source::Dnsmasq, &format!("1795366549 52:54:00:77:00:05 10.0.0.5 {name} *\n"))
        };
        let mut import = file("old");
        import.update(file("new"));
        assert_eq!(import.leases.len(), 1);
        let lease = import.leases.values().next().unwrap();
        assert_eq!(lease.hostname.as_deref(), Some("new"));
    }

    /// A guest chose the name in it, and the operator's terminal shows why it was not taken.
    #[test]
    fn reasons_hold_no_control_characters() {
        let import =
            parse(Source::Dnsmasq, "1795366549 52:54:00:77:00:05 \x1b[2J\u{9b}2J evil *\n");
        let why = &import.unmapped[0].why;
        assert_eq!(why, "`\\u{1b}[2J\\u{9b}2J` is no IPv4 address");
    }

    /// The leases of a real file, one a line.
    pub(super) fn lines(import: &Import) -> Vec<String> {
        let line = |l: &Imported| {
            let client = l.client.as_ref().map_or("nobody".into(), ClientKey::to_string);
            let name = l.hostname.as_deref().unwrap_or("-");
            let hw = l.hw.map_or("-".into(), |hw| hw.to_string());
            format!("{} {client} {hw} {name} {} {}", l.resource, l.bond.as_str(), l.until.secs())
        };
        import.leases.values().map(line).collect()
    }

    /// An old file of IPv4 leases names no DHCPv6 server, whatever it says of one.
    #[test]
    fn the_duid_of_the_server_is_that_of_its_dhcpv6() {
        let said = FIXTURES.map(|(source, text)| parse(source, text).server_duid.map(|d| d.len()));
        assert_eq!(said, [Some(14), None, None, Some(14), Some(14), None]);
        let isc = |at: usize| parse(Source::Isc, FIXTURES[at].1);
        let (mut old, newer) = (isc(4), isc(1));
        let before = old.server_duid.clone();
        old.update(newer);
        assert_eq!(old.server_duid, before);
        let text = "00:01:00:01:32:95:fa:0e:aa:a9:ef:8a:aa:3d\n";
        assert_eq!(kea_server_duid(text).map(|d| d.len()), Some(14));
        assert_eq!(kea_server_duid("00"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "\\PC*|[ -~\n\"\\\\{};0-9]*") {
            for (source, _) in FIXTURES {
                parse(source, &text);
            }
        }

        /// Real files with holes, repetitions and foreign bytes.
        #[test]
        fn damaged_files_are_read_without_panic(
            which in 0..FIXTURES.len(),
            cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), "\\PC{0,4}|[\"{};\\\\\n,]{0,4}"), 1..8),
        ) {
            let (source, text) = FIXTURES[which];
            let mut chars: Vec<char> = text.chars().collect();
            for (at, end, with) in cuts {
                let (at, end) = (at.index(chars.len() + 1), end.index(chars.len() + 1));
                chars.splice(at.min(end)..at.max(end).min(at.min(end) + 64), with.chars());
            }
            let text: String = chars.into_iter().collect();
            let import = parse(source, &text);
            prop_assert!(import.leases.len() <= text.lines().count());
        }
    }
}
