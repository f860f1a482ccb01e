//! Kea's memfile of DHCPv6: one row for each address or delegated prefix of an association.

use std::net::Ipv6Addr;

use csv::StringRecord;

use crate::base::{ClientKey, HwAddr, Prefix6, Resource};

use super::kea::{bond, column, hardware, name, number, until};
use super::{Bond, Imported, duid, shown};

/// Where each field is.
pub(super) struct Columns6 {
    address: usize,
    duid: usize,
    valid_lifetime: usize,
    expire: usize,
    lease_type: usize,
    iaid: usize,
    prefix_len: usize,
    hostname: usize,
    hwaddr: usize,
    state: usize,
}

impl Columns6 {
    /// By the names in the header.
    pub(super) fn of(header: &StringRecord) -> Result<Columns6, String> {
        let want = |name: &str| column(header, name);
        Ok(Columns6 {
            address: want("address")?,
            duid: want("duid")?,
            valid_lifetime: want("valid_lifetime")?,
            expire: want("expire")?,
            lease_type: want("lease_type")?,
            iaid: want("iaid")?,
            prefix_len: want("prefix_len")?,
            hostname: want("hostname")?,
            // Files of the first versions have neither.
            hwaddr: want("hwaddr").unwrap_or(usize::MAX),
            state: want("state").unwrap_or(usize::MAX),
        })
    }

    /// A row.
    pub(super) fn lease(&self, row: &StringRecord, line: u64) -> Result<Imported, String> {
        let field = |at: usize| row.get(at).unwrap_or_default();
        let resource = self.resource(row)?;
        let lifetime = number("valid_lifetime", field(self.valid_lifetime))?;
        let expire = number("expire", field(self.expire))?;
        let bond = bond(field(self.state), lifetime)?;
        let iaid = number("iaid", field(self.iaid))?;
        let iaid = u32::try_from(iaid).map_err(|_| format!("iaid is {iaid}, want 32 bits"))?;
        let (client, hw) = match duid(field(self.duid)) {
            Ok(duid) => {
                let key = match resource {
                    Resource::Prefix6(..) => ClientKey::ia_pd(&duid, iaid),
                    _ => ClientKey::ia(&duid, iaid),
                };
                // Kea takes it from the DUID where it sees no better; see `Imported::hw`.
                let hw = hardware(field(self.hwaddr))?;
                let known = |hw: &HwAddr| HwAddr::of_duid(&duid).is_none_or(|of| !same(&of, hw));
                (Some(key), hw.filter(known))
            }
            // What was declined is nobody's: Kea writes a DUID of one zero.
            Err(_) if bond == Bond::Declined => (None, None),
            Err(why) => return Err(why),
        };
        Ok(Imported {
            line,
            resource,
            client,
            hw,
            hostname: name(field(self.hostname)),
            since: None,
            until: until(lifetime, expire),
            bond,
        })
    }

    fn resource(&self, row: &StringRecord) -> Result<Resource, String> {
        let field = |at: usize| row.get(at).unwrap_or_default();
        let text = field(self.address);
        let addr: Ipv6Addr =
            text.parse().map_err(|_| format!("`{}` is no IPv6 address", shown(text)))?;
        let len = number("prefix_len", field(self.prefix_len))?;
        match (field(self.lease_type), len) {
            ("0", 128) => Ok(addr.into()),
            ("0", _) => Err(format!("prefix_len of the address {addr} is {len}, want 128")),
            ("1", _) => Err(format!("{addr} is a temporary address: none are served")),
            ("2", _) => {
                let prefix = u8::try_from(len).ok().and_then(|len| Prefix6::new(addr, len));
                let whole = prefix.filter(|prefix| prefix.network() == addr);
                whole.map(Resource::from).ok_or_else(|| format!("{addr}/{len} is no prefix"))
            }
            (other, _) => Err(format!("lease_type is `{}`, want 0 or 2", shown(other))),
        }
    }
}

/// The memfile drops the hardware type.
fn same(a: &HwAddr, b: &HwAddr) -> bool {
    a.bytes() == b.bytes()
}

#[cfg(test)]
mod tests {
    use super::super::kea::parse;
    use super::super::tests::{FIXTURES, lines};

    #[test]
    fn a_real_file_is_read_whole() {
        let import = parse(FIXTURES[5].1);
        assert_eq!(import.unmapped, []);
        assert_eq!(
            lines(&import),
            [
                "2001:db8:77:1::1000 ia:00:77:00:01:00:03:00:01:52:54:00:77:00:01 - vm-one leased 1795378293",
                "2001:db8:77:1::1001 ia:00:77:00:02:00:01:00:01:32:95:fa:e5:52:54:00:77:00:02 - vm-two leased 1795378295",
                "2001:db8:77:1::1002 ia:00:00:00:01:00:01:00:01:32:95:fa:e7:52:54:00:77:00:04 - vm-dhcpcd leased 1795378295",
                "2001:db8:77:1::1003 ia:00:77:00:05:00:03:00:01:52:54:00:77:00:05 - vm-gone released 1795374704",
                "2001:db8:77:1::1004 nobody - - declined 1795461106",
                "2001:db8:77:1::1005 nobody - - declined 1795461108",
                "2001:db8:77:1::1006 nobody - - declined 1795461109",
                "2001:db8:8000::/56 ia-pd:00:77:00:01:00:03:00:01:52:54:00:77:00:01 - vm-one leased 1795378293",
                "2001:db8:8000:100::/56 ia-pd:00:00:12:34:00:01:00:01:32:95:fa:e7:52:54:00:77:00:04 - vm-dhcpcd leased 1795378295",
                "2001:db8:8000:200::/56 ia-pd:00:77:00:05:00:03:00:01:52:54:00:77:00:05 - vm-gone released 1795374704",
            ]
        );
    }

    const HEADER: &str = "address,duid,valid_lifetime,expire,subnet_id,pref_lifetime,lease_type,\
                          iaid,prefix_len,fqdn_fwd,fqdn_rev,hostname,hwaddr,state";

    /// What Kea sees on the wire or hears from a relay is kept, what it takes from the DUID is not.
    #[test]
    fn hardware_addresses_are_those_of_the_wire() {
        let hw = |duid: &str| {
            let row = format!("fd00::1,{duid},60,1795378293,7,0,0,1,128,0,0,,52:54:00:77:00:01,0");
            let import = parse(&format!("{HEADER}\n{row}\n"));
            assert_eq!(import.unmapped, []);
            import.leases.into_values().next().unwrap().hw.map(|hw| hw.to_string())
        };
        assert_eq!(hw("00:03:00:01:52:54:00:77:00:01"), None);
        assert_eq!(hw("00:01:00:01:32:95:fa:e5:52:54:00:77:00:01"), None);
        let seen = Some("52:54:00:77:00:01".into());
        assert_eq!(hw("00:03:00:01:52:54:00:77:00:02"), seen);
        assert_eq!(hw("00:04:52:54:00:77:00:01"), seen);
    }

    #[test]
    fn rows_that_do_not_fit_are_named_by_line() {
        const DUID: &str = "00:03:00:01:52:54";
        let rows = [
            "10.0.0.1,DUID,60,1795378293,7,0,0,1,128,0,0,,,0",
            "fd00::1,DUID,60,1795378293,7,0,0,1,64,0,0,,,0",
            "fd00::1,DUID,60,1795378293,7,0,1,1,128,0,0,,,0",
            "fd00::1,DUID,60,1795378293,7,0,2,1,56,0,0,,,0",
            "fd00::,DUID,60,1795378293,7,0,2,1,300,0,0,,,0",
            "fd00::,DUID,60,1795378293,7,0,3,1,56,0,0,,,0",
            "fd00::1,00,60,1795378293,7,0,0,1,128,0,0,,,0",
            "fd00::1,DUID,60,1795378293,7,0,0,4294967296,128,0,0,,,0",
            "fd00::1,DUID,60,1795378293,7,0,0,1,128,0,0,,zz,0",
            "fd00::1,DUID,60,1795378293,7,0,0,1,128,0,0,,,4",
            "fd00::1,DUID,x,1,7,0,0,1,128",
        ];
        let import = parse(&format!("{HEADER}\n{}\n", rows.join("\n").replace("DUID", DUID)));
        let at: Vec<_> = import.unmapped.iter().map(|u| u.line).collect();
        assert_eq!((import.leases.len(), at), (0, (2..=12).collect()));
    }
}
