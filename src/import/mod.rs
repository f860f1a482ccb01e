//! What other DHCP servers know about their clients, read from their lease files.
//!
//! Text in, leases out: nothing here opens a file or reads a clock. What cannot be mapped is
//! reported with its line and never guessed. Entries that are over are imported too: they say
//! which address a client had, and it shall have it again.

pub mod dnsmasq;
pub mod isc;
pub mod kea;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::str::FromStr;

use crate::base::name::clean_hostname;
use crate::base::{HwAddr, Timestamp};

/// Longest client identifier: what one option holds.
const CLIENT_ID_MAX: usize = 255;

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// dnsmasq's leases file.
    Dnsmasq,
    /// dhcpd.leases of ISC DHCP.
    Isc,
    /// The memfile (CSV) of Kea, IPv4.
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
    /// The address.
    pub addr: Ipv4Addr,
    /// Option 61 as the client sent it.
    pub client_id: Option<Vec<u8>>,
    /// Hardware address.
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
    pub leases: BTreeMap<Ipv4Addr, Imported>,
    /// What could not be mapped.
    pub unmapped: Vec<Unmapped>,
}

impl Import {
    fn add(&mut self, lease: Imported) {
        self.leases.insert(lease.addr, lease);
    }

    fn skip(&mut self, line: u64, why: impl Into<String>) {
        self.unmapped.push(Unmapped { line, why: why.into() });
    }

    /// Adds what a newer file of the same server says.
    pub fn update(&mut self, newer: Import) {
        self.leases.extend(newer.leases);
        self.unmapped.extend(newer.unmapped);
    }
}

/// Reads a lease file.
pub fn parse(source: Source, text: &str) -> Import {
    match source {
        Source::Dnsmasq => dnsmasq::parse(text),
        Source::Isc => isc::parse(text),
        Source::Kea => kea::parse(text),
    }
}

/// A host name, cleaned as one from the wire is.
fn hostname(text: &str) -> Option<Box<str>> {
    clean_hostname(text.as_bytes())
}

/// A client identifier in hexadecimal; on error what it is.
fn client_id(hex: &str) -> Result<Vec<u8>, String> {
    crate::base::addr::parse_hex(hex)
        .filter(|id| (1..=CLIENT_ID_MAX).contains(&id.len()))
        .ok_or_else(|| format!("client id is `{}`, want 1 to 255 bytes", shown(hex)))
}

/// The beginning of a text, for messages.
fn shown(text: &str) -> String {
    const MOST: usize = 40;
    let mut out: String = text.chars().take(MOST).collect();
    if out.len() < text.len() {
        out.push_str("...");
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(super) const FIXTURES: [(Source, &str); 3] = [
        (Source::Dnsmasq, include_str!("../../tests/import/dnsmasq.leases")),
        (Source::Isc, include_str!("../../tests/import/dhcpd.leases")),
        (Source::Kea, include_str!("../../tests/import/kea-leases4.csv")),
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
            which in 0..3_usize,
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
