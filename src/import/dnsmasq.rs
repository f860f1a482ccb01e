//! dnsmasq's leases file: a line for each lease, `expiry mac address hostname client-id`.
//!
//! The expiry is in seconds since the epoch, 0 for a lease without end; `*` stands for what is
//! not known. A line `duid ...` with the server's DUID begins the DHCPv6 part, whose lines are
//! `expiry iaid address hostname duid`. A `T` before the IAID says that the address is temporary;
//! prefixes are not delegated by dnsmasq.

use std::net::Ipv6Addr;

use crate::base::{ClientKey, HwAddr, Mac, Timestamp};

use super::{Bond, Import, Imported, client_id, duid, hostname, shown};

/// Expiry times before 2001 are no times: dnsmasq built without a clock writes lengths instead.
const EARLIEST: u64 = 978_307_200;

/// Reads a leases file.
pub fn parse(text: &str) -> Import {
    let mut import = Import::default();
    let mut v6 = false;
    for (line, number) in text.lines().zip(1..) {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        if let Some(own) = line.strip_prefix("duid ") {
            v6 = true;
            match duid(own.trim()) {
                Ok(own) => import.server_duid = Some(own),
                Err(why) => import.skip(number, why),
            }
            continue;
        }
        let lease = if v6 { lease6(line, number) } else { lease(line, number) };
        match lease {
            Ok(lease) => import.add(lease),
            Err(why) => import.skip(number, why),
        }
    }
    import
}

fn lease(line: &str, number: u64) -> Result<Imported, String> {
    let [expiry, mac, addr, name, id] = fields(line)?;
    let until = until(expiry)?;
    let hw = hardware(mac)
        .ok_or_else(|| format!("hardware address is `{}`, want 52:54:00:12:34:56", shown(mac)))?;
    Ok(Imported {
        line: number,
        resource: addr
            .parse::<std::net::Ipv4Addr>()
            .map_err(|_| format!("`{}` is no IPv4 address", shown(addr)))?
            .into(),
        client: known(id).map(client_id).transpose()?,
        hw: Some(hw),
        hostname: known(name).and_then(hostname),
        since: None,
        until,
        bond: Bond::Leased,
    })
}

fn lease6(line: &str, number: u64) -> Result<Imported, String> {
    let [expiry, iaid, addr, name, id] = fields(line)?;
    let until = until(expiry)?;
    let addr: Ipv6Addr =
        addr.parse().map_err(|_| format!("`{}` is no IPv6 address", shown(addr)))?;
    if iaid.starts_with('T') {
        return Err(format!("{addr} is a temporary address: none are served"));
    }
    let iaid = iaid.parse().map_err(|_| format!("IAID is `{}`, want a number", shown(iaid)))?;
    Ok(Imported {
        line: number,
        resource: addr.into(),
        client: Some(ClientKey::ia(&duid(id)?, iaid)),
        hw: None,
        hostname: known(name).and_then(hostname),
        since: None,
        until,
        bond: Bond::Leased,
    })
}

fn fields(line: &str) -> Result<[&str; 5], String> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    <[&str; 5]>::try_from(fields.as_slice())
        .map_err(|_| format!("{} fields, want 5: `{}`", fields.len(), shown(line)))
}

fn until(expiry: &str) -> Result<Timestamp, String> {
    match expiry.parse::<u64>() {
        Ok(0) => Ok(Timestamp::NEVER),
        Ok(secs) if secs >= EARLIEST => Ok(Timestamp::from_secs(secs)),
        Ok(secs) => Err(format!("expiry is {secs}: a length, not a time")),
        Err(_) => Err(format!("expiry is `{}`, want seconds", shown(expiry))),
    }
}

fn known(field: &str) -> Option<&str> {
    Some(field).filter(|field| *field != "*")
}

/// Bytes with `:` between, and in front of what is not Ethernet its type in hexadecimal: `20-..`.
fn hardware(text: &str) -> Option<HwAddr> {
    match text.split_once('-') {
        Some((htype, bytes)) => {
            let bytes = crate::base::addr::parse_hex(bytes)?;
            HwAddr::new(u8::from_str_radix(htype, 16).ok()?, &bytes)
        }
        None => text.parse::<Mac>().ok().map(HwAddr::ethernet),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{FIXTURES, lines};
    use super::*;

    #[test]
    fn a_real_file_is_read_whole() {
        let import = parse(FIXTURES[0].1);
        let text: Vec<_> = import
            .leases
            .values()
            .map(|l| {
                let id = l.client.as_ref().and_then(|c| c.option_61()).map_or(0, <[u8]>::len);
                let hw = l.hw.map_or("-".into(), |hw| hw.to_string());
                format!("{} {hw} {id} {:?} {:?}", l.resource, l.hostname, l.until.secs())
            })
            .collect();
        assert_eq!(
            text,
            [
                r#"10.77.0.21 52:54:00:77:00:01 7 Some("vm-busybox") 1795366548"#,
                r#"10.77.0.22 52:54:00:77:00:02 0 None 18446744073709551"#,
                r#"10.77.0.23 52:54:00:77:00:03 12 Some("vm-dhclient") 1795366548"#,
                r#"10.77.0.24 52:54:00:77:00:04 19 Some("vm-dhcpcd") 1795366549"#,
                r#"10.77.0.25 52:54:00:77:00:05 7 Some("vm-gone") 1795366549"#,
                "fd77::175 - 0 None 1795366575",
            ]
        );
        assert_eq!(import.leases.values().nth(1).unwrap().until, Timestamp::NEVER);
        assert_eq!(import.unmapped, []);
    }

    #[test]
    fn a_real_file_of_dhcpv6_is_read_but_for_temporary_addresses() {
        let import = parse(FIXTURES[3].1);
        assert_eq!(
            lines(&import),
            [
                "2001:db8:77:1::1883 ia:00:77:00:03:00:03:00:01:52:54:00:77:00:03 - vm-temp leased 1795378085",
                "2001:db8:77:1::19fb ia:00:77:00:02:00:01:00:01:32:95:fa:13:52:54:00:77:00:02 - vm-two leased 1795378084",
                "2001:db8:77:1::1a7e ia:00:00:00:01:00:01:00:01:32:95:fa:15:52:54:00:77:00:04 - vm-dhcpcd leased 1795378085",
                "2001:db8:77:1::1d7f ia:00:77:00:01:00:03:00:01:52:54:00:77:00:01 - vm-one leased 1795378083",
            ]
        );
        let why = "2001:db8:77:1::16d2 is a temporary address: none are served".into();
        assert_eq!(import.unmapped, [super::super::Unmapped { line: 3, why }]);
    }

    #[test]
    fn what_does_not_fit_in_dhcpv6_is_named_by_line() {
        let import = parse(
            "duid 00\n1795366548 7 fd00::1 * 00:03:00:01:02\n1795366548 7 10.0.0.1 * 00:03:00\n\
             1795366548 x fd00::2 * 00:03:00:01\n1795366548 7 fd00::3 * *\n\
             1795366548 4294967296 fd00::4 * 00:03:00:01\n1795366548 7 fd00::5 * 00:03\n3600 7 fd00::6 * 00:03:00\n",
        );
        assert_eq!((import.leases.len(), import.server_duid), (1, None));
        let lines: Vec<_> = import.unmapped.iter().map(|u| u.line).collect();
        assert_eq!(lines, [1, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn what_does_not_fit_is_named_by_line() {
        let text = "x 52:54:00:00:00:01 10.0.0.1 * *\n\n3600 52:54:00:00:00:01 10.0.0.1 * *\n\
                    1795366548 52:54:00:00:00:01 10.0.0 * *\n1795366548 52:54 10.0.0.1 * *\n\
                    1795366548 52:54:00:00:00:01 10.0.0.1\n\
                    1795366548 20-01:02:03 10.0.0.9 * ff:zz\n";
        let import = parse(text);
        assert!(import.leases.is_empty());
        let lines: Vec<_> = import.unmapped.iter().map(|u| u.line).collect();
        assert_eq!(lines, [1, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn hardware_types_other_than_ethernet_are_kept() {
        let import = parse("1795366548 20-01:02:03 10.0.0.9 * *\n");
        let hw = import.leases.values().next().unwrap().hw.unwrap();
        assert_eq!((hw.htype(), hw.bytes()), (0x20, &[1, 2, 3][..]));
    }
}
