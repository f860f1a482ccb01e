//! Every option that a DHCPv4 server may send, by code, name and type (IANA, "BOOTP Vendor
//! Extensions and DHCP Options"), and those that it must not be told to send.

use super::types::{Type, Unit};

/// One option or sub-option.
#[derive(Debug)]
pub(in crate::config) struct Row {
    pub(in crate::config) code: u16,
    pub(in crate::config) name: &'static str,
    pub(in crate::config) ty: Type,
}

pub(super) const fn one(code: u16, name: &'static str, unit: Unit) -> Row {
    Row { code, name, ty: Type { unit, list: false } }
}

pub(super) const fn list(code: u16, name: &'static str, unit: Unit) -> Row {
    Row { code, name, ty: Type { unit, list: true } }
}

/// An option that the configuration may not set, and what to do instead.
pub(super) const fn no(code: u16, name: &'static str, why: &'static str) -> Row {
    one(code, name, Unit::Refused(why))
}

/// The option of this code.
pub(in crate::config) fn by_code(rows: &'static [Row], code: u16) -> Option<&'static Row> {
    rows.iter().find(|row| row.code == code)
}

/// The option of this name.
pub(in crate::config) fn by_name(rows: &'static [Row], name: &str) -> Option<&'static Row> {
    rows.iter().find(|row| row.name == name)
}

const U8: Unit = Unit::unsigned(1, 0);
const U16: Unit = Unit::unsigned(2, 0);
const U32: Unit = Unit::unsigned(4, 0);

const LEASE: &str = "lease times are set by `lease = { default = \"1h\" }` and its keys";
const CLIENT: &str = "clients send it; a server does not";
const OWN: &str = "the server fills it in by itself";
const RELAY: &str = "it belongs to relay agents; the server echoes what they send";
const QUERY: &str = "it belongs to lease queries";

/// The options of DHCPv4.
#[rustfmt::skip]
pub(in crate::config) static DHCP4: &[Row] = &[
    no(0, "pad", "it is part of the packet's framing"),
    one(1, "subnet-mask", Unit::Mask),
    one(2, "time-offset", Unit::signed(4)),
    list(3, "routers", Unit::Host),
    list(4, "time-servers", Unit::Ip),
    list(5, "name-servers", Unit::Ip),
    list(6, "domain-name-servers", Unit::Ip),
    list(7, "log-servers", Unit::Ip),
    list(8, "cookie-servers", Unit::Ip),
    list(9, "lpr-servers", Unit::Ip),
    list(10, "impress-servers", Unit::Ip),
    list(11, "resource-location-servers", Unit::Ip),
    one(12, "host-name", Unit::Text),
    one(13, "boot-size", U16),
    one(14, "merit-dump", Unit::Text),
    one(15, "domain-name", Unit::Text),
    one(16, "swap-server", Unit::Ip),
    one(17, "root-path", Unit::Text),
    one(18, "extensions-path", Unit::Text),
    one(19, "ip-forwarding", Unit::Bool),
    one(20, "non-local-source-routing", Unit::Bool),
    list(21, "policy-filter", Unit::IpPair),
    one(22, "max-dgram-reassembly", Unit::unsigned(2, 576)),
    one(23, "default-ip-ttl", Unit::unsigned(1, 1)),
    one(24, "path-mtu-aging-timeout", Unit::Seconds),
    list(25, "path-mtu-plateau-table", Unit::unsigned(2, 68)),
    one(26, "interface-mtu", Unit::unsigned(2, 68)),
    one(27, "all-subnets-local", Unit::Bool),
    one(28, "broadcast-address", Unit::Ip),
    one(29, "perform-mask-discovery", Unit::Bool),
    one(30, "mask-supplier", Unit::Bool),
    one(31, "router-discovery", Unit::Bool),
    one(32, "router-solicitation-address", Unit::Ip),
    list(33, "static-routes", Unit::IpPair),
    one(34, "trailer-encapsulation", Unit::Bool),
    one(35, "arp-cache-timeout", Unit::Seconds),
    one(36, "ieee802-3-encapsulation", Unit::Bool),
    one(37, "default-tcp-ttl", Unit::unsigned(1, 1)),
    one(38, "tcp-keepalive-interval", Unit::Seconds),
    one(39, "tcp-keepalive-garbage", Unit::Bool),
    one(40, "nis-domain", Unit::Text),
    list(41, "nis-servers", Unit::Ip),
    list(42, "ntp-servers", Unit::Ip),
    one(43, "vendor-encapsulated-options", Unit::Suboptions),
    list(44, "netbios-name-servers", Unit::Ip),
    list(45, "netbios-dd-server", Unit::Ip),
    one(46, "netbios-node-type", Unit::NodeType),
    one(47, "netbios-scope", Unit::Text),
    list(48, "font-servers", Unit::Ip),
    list(49, "x-display-manager", Unit::Ip),
    no(50, "dhcp-requested-address", CLIENT),
    no(51, "dhcp-lease-time", LEASE),
    no(52, "dhcp-option-overload", OWN),
    no(53, "dhcp-message-type", OWN),
    no(54, "dhcp-server-identifier", "set `server_id` of the network"),
    no(55, "dhcp-parameter-request-list", CLIENT),
    no(56, "dhcp-message", OWN),
    no(57, "dhcp-max-message-size", CLIENT),
    no(58, "dhcp-renewal-time", "set `lease = { t1 = \"30m\" }`"),
    no(59, "dhcp-rebinding-time", "set `lease = { t2 = \"52m30s\" }`"),
    one(60, "vendor-class-identifier", Unit::Text),
    no(61, "dhcp-client-identifier", "clients send it, and the server echoes it"),
    one(62, "nwip-domain-name", Unit::Text),
    one(63, "nwip-suboptions", Unit::Suboptions),
    one(64, "nisplus-domain-name", Unit::Text),
    list(65, "nisplus-servers", Unit::Ip),
    one(66, "tftp-server-name", Unit::Text),
    one(67, "boot-file-name", Unit::Text),
    list(68, "mobile-ip-home-agent", Unit::Ip),
    list(69, "smtp-server", Unit::Ip),
    list(70, "pop-server", Unit::Ip),
    list(71, "nntp-server", Unit::Ip),
    list(72, "www-server", Unit::Ip),
    list(73, "finger-server", Unit::Ip),
    list(74, "irc-server", Unit::Ip),
    list(75, "streettalk-server", Unit::Ip),
    list(76, "streettalk-directory-assistance-server", Unit::Ip),
    no(77, "user-class", CLIENT),
    one(78, "slp-directory-agent", Unit::SlpAgents),
    one(79, "slp-service-scope", Unit::SlpScope),
    no(80, "rapid-commit", "set `rapid_commit = true` in the network"),
    no(81, "fqdn", "the server answers what the client sends"),
    no(82, "dhcp-agent-options", RELAY),
    one(83, "isns", Unit::Hex),
    list(85, "nds-servers", Unit::Ip),
    one(86, "nds-tree-name", Unit::Text),
    one(87, "nds-context", Unit::Text),
    list(88, "bcms-controller-names", Unit::Domain),
    list(89, "bcms-controller-address", Unit::Ip),
    no(90, "authentication", OWN),
    no(91, "client-last-transaction-time", QUERY),
    no(92, "associated-ip", QUERY),
    no(93, "client-system", CLIENT),
    no(94, "client-ndi", CLIENT),
    one(95, "ldap-url", Unit::Text),
    no(97, "uuid-guid", "clients send it, and the server echoes it"),
    one(98, "uap-servers", Unit::Text),
    one(99, "geoconf-civic", Unit::Hex),
    one(100, "pcode", Unit::Text),
    one(101, "tcode", Unit::Text),
    one(108, "v6-only-preferred", Unit::Seconds),
    one(109, "dhcp4o6-s46-saddr", Unit::Ip6),
    list(112, "netinfo-server-address", Unit::Ip),
    one(113, "netinfo-server-tag", Unit::Text),
    one(114, "captive-portal", Unit::Text),
    one(116, "auto-configure", Unit::Bool),
    list(117, "name-service-search", U16),
    no(118, "subnet-selection", RELAY),
    list(119, "domain-search", Unit::SearchDomain),
    list(120, "sip-servers", Unit::SipServer),
    list(121, "classless-static-routes", Unit::Route),
    one(122, "cablelabs-client-configuration", Unit::Suboptions),
    one(123, "geoconf", Unit::Hex),
    one(124, "vivco-suboptions", Unit::Enterprises { encapsulated: false }),
    one(125, "vivso-suboptions", Unit::Enterprises { encapsulated: true }),
    list(136, "pana-agent", Unit::Ip),
    one(137, "v4-lost", Unit::Domain),
    list(138, "capwap-ac-v4", Unit::Ip),
    one(139, "mos-addresses", Unit::Suboptions),
    one(140, "mos-domains", Unit::Suboptions),
    list(141, "sip-ua-cs-domains", Unit::Domain),
    list(142, "andsf-servers", Unit::Ip),
    list(143, "sztp-redirect", Unit::LongText),
    one(144, "geoloc", Unit::Hex),
    no(145, "forcerenew-nonce-capable", OWN),
    one(146, "rdnss-selection", Unit::Hex),
    one(147, "dots-reference-identifier", Unit::Domain),
    list(148, "dots-addresses", Unit::Ip),
    list(150, "tftp-server-addresses", Unit::Ip),
    no(151, "status-code", QUERY),
    no(152, "base-time", QUERY),
    no(153, "start-time-of-state", QUERY),
    no(154, "query-start-time", QUERY),
    no(155, "query-end-time", QUERY),
    no(156, "dhcp-state", QUERY),
    no(157, "data-source", QUERY),
    list(158, "pcp-servers", Unit::PcpServer),
    one(159, "v4-portparams", Unit::PortParams),
    no(161, "mud-url", CLIENT),
    one(162, "v4-dnr", Unit::Hex),
    one(175, "ipxe-options", Unit::Suboptions),
    one(208, "pxelinux-magic", Unit::Hex),
    one(209, "pxelinux-configfile", Unit::Text),
    one(210, "pxelinux-pathprefix", Unit::Text),
    one(211, "pxelinux-reboottime", Unit::Seconds),
    one(212, "option-6rd", Unit::SixRd),
    one(213, "v4-access-domain", Unit::Domain),
    no(220, "subnet-allocation", RELAY),
    no(221, "virtual-subnet-selection", RELAY),
    list(249, "ms-classless-static-routes", Unit::Route),
    one(252, "wpad-url", Unit::Text),
    no(255, "end", "it is part of the packet's framing"),
];

/// Sub-options of option 43 by their PXE names (PXE 2.1 s2.2.3, table 2-1).
#[rustfmt::skip]
pub(in crate::config) static PXE: &[Row] = &[
    one(1, "pxe-mtftp-address", Unit::Ip),
    one(2, "pxe-mtftp-client-port", U16),
    one(3, "pxe-mtftp-server-port", U16),
    one(4, "pxe-mtftp-timeout", U8),
    one(5, "pxe-mtftp-delay", U8),
    one(6, "pxe-discovery-control", U8),
    one(7, "pxe-discovery-multicast-address", Unit::Ip),
    one(8, "pxe-boot-servers", Unit::Hex),
    one(9, "pxe-boot-menu", Unit::Hex),
    one(10, "pxe-menu-prompt", Unit::Hex),
    one(71, "pxe-boot-item", U32),
];

/// Sub-options of option 175 by their iPXE names (ipxe.org/howto/dhcpd).
#[rustfmt::skip]
pub(in crate::config) static IPXE: &[Row] = &[
    one(1, "priority", Unit::signed(1)),
    one(8, "keep-san", Unit::Bool),
    one(9, "skip-san-boot", Unit::Bool),
    one(85, "syslogs", Unit::Text),
    one(91, "cert", Unit::Text),
    one(92, "privkey", Unit::Text),
    one(93, "crosscert", Unit::Text),
    one(176, "no-pxedhcp", Unit::Bool),
    one(177, "bus-id", Unit::Hex),
    one(188, "san-filename", Unit::Text),
    one(189, "bios-drive", U8),
    one(190, "username", Unit::Text),
    one(191, "password", Unit::Text),
    one(192, "reverse-username", Unit::Text),
    one(193, "reverse-password", Unit::Text),
    one(235, "version", Unit::Text),
];

#[cfg(test)]
mod tests {
    use super::super::registry6::DHCP6;
    use super::*;

    #[test]
    fn codes_ascend_and_names_are_unique() {
        for rows in [DHCP4, PXE, IPXE, DHCP6] {
            for pair in rows.windows(2) {
                assert!(pair[0].code < pair[1].code, "{} {}", pair[0].name, pair[1].name);
            }
            let mut names: Vec<_> = rows.iter().map(|r| r.name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), rows.len());
        }
    }
}
