//! Kea's memfile: CSV with a header, a row for each change of a lease.
//!
//! Rows are appended, so the last one for an address counts; a deleted lease is a row with a
//! lifetime of 0. Fields are not quoted: a comma within one is written `&#x2c`. Beside the file
//! its clean-up (kea-lfc) may have left older ones named `.completed`, `.2` and `.1`: they come
//! before it, in this order.

use csv::StringRecord;

use crate::base::{HwAddr, Mac, Timestamp};

use super::kea6::Columns6;
use super::{Bond, Import, Imported, client_id, hostname, shown};

/// A lifetime without end (RFC 2131 s3.3).
const INFINITE: u64 = u32::MAX as u64;

/// Reads a memfile.
pub fn parse(text: &str) -> Import {
    let mut import = Import::default();
    let mut rows =
        csv::ReaderBuilder::new().quoting(false).flexible(true).from_reader(text.as_bytes());
    let header = match rows.headers() {
        Ok(header) => header.clone(),
        Err(error) => {
            import.skip(1, format!("header: {error}"));
            return import;
        }
    };
    let columns = match Layout::of(&header) {
        Ok(columns) => columns,
        Err(why) => {
            import.skip(1, why);
            return import;
        }
    };
    for row in rows.records() {
        match row {
            Ok(row) => {
                let line = row.position().map_or(0, csv::Position::line);
                match columns.lease(&row, line) {
                    Ok(lease) => import.add(lease),
                    Err(why) => import.skip(line, why),
                }
            }
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                import.skip(line, error.to_string());
            }
        }
    }
    import
}

/// Whose columns they are.
enum Layout {
    V4(Columns),
    V6(Columns6),
}

impl Layout {
    fn of(header: &StringRecord) -> Result<Layout, String> {
        let has = |name: &str| header.iter().any(|field| field == name);
        match has("duid") && !has("client_id") {
            true => Columns6::of(header).map(Layout::V6),
            false => Columns::of(header).map(Layout::V4),
        }
    }

    fn lease(&self, row: &StringRecord, line: u64) -> Result<Imported, String> {
        match self {
            Layout::V4(columns) => columns.lease(row, line),
            Layout::V6(columns) => columns.lease(row, line),
        }
    }
}

/// Where each field is.
struct Columns {
    address: usize,
    hwaddr: usize,
    client_id: usize,
    valid_lifetime: usize,
    expire: usize,
    hostname: usize,
    state: usize,
}

impl Columns {
    fn of(header: &StringRecord) -> Result<Columns, String> {
        let want = |name: &str| column(header, name);
        Ok(Columns {
            address: want("address")?,
            hwaddr: want("hwaddr")?,
            client_id: want("client_id")?,
            valid_lifetime: want("valid_lifetime")?,
            expire: want("expire")?,
            hostname: want("hostname")?,
            // Files of Kea 1.0 have none: all their leases are in force.
            state: want("state").unwrap_or(usize::MAX),
        })
    }

    fn lease(&self, row: &StringRecord, line: u64) -> Result<Imported, String> {
        let field = |at: usize| row.get(at).unwrap_or_default();
        let addr = field(self.address);
        let lifetime = number("valid_lifetime", field(self.valid_lifetime))?;
        let expire = number("expire", field(self.expire))?;
        Ok(Imported {
            line,
            resource: addr
                .parse::<std::net::Ipv4Addr>()
                .map_err(|_| format!("`{}` is no IPv4 address", shown(addr)))?
                .into(),
            client: match field(self.client_id) {
                "" => None,
                hex => Some(client_id(hex)?),
            },
            hw: hardware(field(self.hwaddr))?,
            hostname: name(field(self.hostname)),
            since: None,
            until: until(lifetime, expire),
            bond: bond(field(self.state), lifetime)?,
        })
    }
}

pub(super) fn column(header: &StringRecord, name: &str) -> Result<usize, String> {
    let at = header.iter().position(|field| field == name);
    at.ok_or_else(|| format!("no column `{name}`: want the header that Kea writes"))
}

pub(super) fn number(name: &str, text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{name} is `{}`, want a number", shown(text)))
}

pub(super) fn until(lifetime: u64, expire: u64) -> Timestamp {
    if lifetime == INFINITE { Timestamp::NEVER } else { Timestamp::from_secs(expire) }
}

pub(super) fn bond(state: &str, lifetime: u64) -> Result<Bond, String> {
    match state {
        "1" => Ok(Bond::Declined),
        "2" => Ok(Bond::Expired),
        "3" => Ok(Bond::Released),
        "" | "0" if lifetime == 0 => Ok(Bond::Released),
        "" | "0" => Ok(Bond::Leased),
        other => Err(format!("state is `{}`, want 0 to 3", shown(other))),
    }
}

pub(super) fn name(text: &str) -> Option<Box<str>> {
    hostname(&text.replace("&#x2c", ","))
}

pub(super) fn hardware(text: &str) -> Result<Option<HwAddr>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let hw = read_hardware(text);
    hw.map(Some).ok_or_else(|| format!("hwaddr is `{}`, want 52:54:00:12:34:56", shown(text)))
}

/// The memfile drops the hardware type; six bytes are Ethernet.
fn read_hardware(text: &str) -> Option<HwAddr> {
    if let Ok(mac) = text.parse::<Mac>() {
        return Some(HwAddr::ethernet(mac));
    }
    HwAddr::new(0, &crate::base::addr::parse_hex(text)?)
}

#[cfg(test)]
mod tests {
    use super::super::tests::FIXTURES;
    use super::*;

    #[test]
    fn a_real_file_is_read_whole() {
        let import = parse(FIXTURES[2].1);
        assert_eq!(import.unmapped, []);
        let text: Vec<_> = import
            .leases
            .values()
            .map(|l| {
                let id = l.client.as_ref().and_then(|c| c.option_61()).map_or(0, <[u8]>::len);
                format!("{} {id} {:?} {:?} line {}", l.resource, l.hostname, l.bond, l.line)
            })
            .collect();
        assert_eq!(
            text,
            [
                r#"10.77.0.10 7 Some("x") Released line 10"#,
                r#"10.77.0.11 0 None Declined line 12"#,
                r#"10.77.0.12 12 Some("vm-dhclient") Leased line 4"#,
                r#"10.77.0.13 19 Some("vm-dhcpcd") Leased line 5"#,
                r#"10.77.0.14 7 Some("a") Leased line 7"#,
            ]
        );
    }

    const HEADER: &str = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,\
                          fqdn_rev,hostname,state,user_context";

    #[test]
    fn commas_in_fields_are_escaped_and_quotes_are_not_special() {
        let row = "10.0.0.1,52:54:00:00:00:01,,3600,1795366592,7,0,0,vm-1,0,{ \"a\": 1&#x2c \"b\": \"x\" }";
        let import = parse(&format!("{HEADER}\n{row}\n"));
        assert_eq!(import.unmapped, []);
        assert_eq!(import.leases.values().next().unwrap().hostname.as_deref(), Some("vm-1"));
        let comma = row.replace("vm-1", "vm&#x2c1");
        let import = parse(&format!("{HEADER}\n{comma}\n"));
        assert_eq!(
            import.leases.values().next().unwrap().hostname.as_deref(),
            Some("vm-1"),
            "cleaned"
        );
    }

    #[test]
    fn columns_are_found_by_name() {
        let text = "state,hostname,expire,valid_lifetime,client_id,hwaddr,address,new\n\
                    0,vm,1795366592,4294967295,01:02,52:54:00:00:00:01,10.0.0.1,x\n";
        let import = parse(text);
        assert_eq!(import.unmapped, []);
        assert_eq!(import.leases.values().next().unwrap().until, Timestamp::NEVER);
    }

    #[test]
    fn another_kind_of_file_is_refused_whole() {
        for text in ["", "a,b\n1,2\n", "address,duid,valid_lifetime,expire\nfd00::1,01,1,1\n"] {
            let import = parse(text);
            assert!(import.leases.is_empty());
            assert_eq!(import.unmapped.len(), 1, "{text}");
        }
    }

    #[test]
    fn rows_that_do_not_fit_are_named_by_line() {
        let import = parse(&format!(
            "{HEADER}\n10.0.0,,,1,1,1,0,0,,0,\n10.0.0.1,zz,,1,1,1,0,0,,0,\n10.0.0.1,,,x,1\n10.0.0.1,,,1,1,1,0,0,,9,\n"
        ));
        let lines: Vec<_> = import.unmapped.iter().map(|u| u.line).collect();
        assert_eq!((import.leases.len(), lines), (0, vec![2, 3, 4, 5]));
    }
}
