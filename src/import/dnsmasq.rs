//! dnsmasq's leases file: a line for each lease, `expiry mac address hostname client-id`.
//!
//! The expiry is in seconds since the epoch, 0 for a lease without end; `*` stands for what is
//! not known. A line `duid ...` begins the DHCPv6 part.

use crate::base::{HwAddr, Mac, Timestamp};

use super::{Bond, Import, Imported, client_id, hostname, shown};

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
        if line.starts_with("duid ") {
            v6 = true;
            continue;
        }
        if v6 {
            import.skip(number, "a DHCPv6 lease: only IPv4 is imported");
            continue;
        }
        match lease(line, number) {
            Ok(lease) => import.add(lease),
            Err(why) => import.skip(number, why),
        }
    }
    import
}

fn lease(line: &str, number: u64) -> Result<Imported, String> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [expiry, mac, addr, name, id] = fields.as_slice() else {
        return Err(format!("{} fields, want 5: `{}`", fields.len(), shown(line)));
    };
    let until = match expiry.parse::<u64>() {
        Ok(0) => Timestamp::NEVER,
        Ok(secs) if secs >= EARLIEST => Timestamp::from_secs(secs),
        Ok(secs) => return Err(format!("expiry is {secs}: a length, not a time")),
        Err(_) => return Err(format!("expiry is `{}`, want seconds", shown(expiry))),
    };
    let known = |field: &str| field != "*";
    let hw = hardware(mac)
        .ok_or_else(|| format!("hardware address is `{}`, want 52:54:00:12:34:56", shown(mac)))?;
    Ok(Imported {
        line: number,
        addr: addr.parse().map_err(|_| format!("`{}` is no IPv4 address", shown(addr)))?,
        client_id: if known(id) { Some(client_id(id)?) } else { None },
        hw: Some(hw),
        hostname: Some(*name).filter(|name| known(name)).and_then(hostname),
        since: None,
        until,
        bond: Bond::Leased,
    })
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
    use super::super::tests::FIXTURES;
    use super::*;

    #[test]
    fn a_real_file_is_read_whole() {
        let import = parse(FIXTURES[0].1);
        let text: Vec<_> = import
            .leases
            .values()
            .map(|l| {
                let id = l.client_id.as_ref().map_or(0, Vec::len);
                let hw = l.hw.unwrap();
                format!("{} {hw} {id} {:?} {:?}", l.addr, l.hostname, l.until.secs())
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
            ]
        );
        assert_eq!(import.leases.values().nth(1).unwrap().until, Timestamp::NEVER);
        assert_eq!(import.unmapped.len(), 1, "the DHCPv6 lease is reported");
        assert_eq!(import.unmapped[0].line, 7);
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
