//! DHCPv4 option codes by name, and the encoders that the engine needs for options whose value
//! is only known when it answers. Configured options arrive encoded from `config`.

use std::net::Ipv4Addr;

use super::fqdn::Fqdn;
use crate::base::name::{NameError, encode_name};

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal,)*) => {
        $($(#[doc = $doc])* pub const $name: u8 = $code;)*
    };
}

codes! {
    /// Filler without a length (RFC 2132 s3.1).
    PAD = 0,
    /// Subnet mask (RFC 2132 s3.3).
    SUBNET_MASK = 1,
    /// Routers (RFC 2132 s3.5).
    ROUTERS = 3,
    /// Domain name servers (RFC 2132 s3.8).
    DNS_SERVERS = 6,
    /// Host name (RFC 2132 s3.14).
    HOST_NAME = 12,
    /// Domain name (RFC 2132 s3.17).
    DOMAIN_NAME = 15,
    /// Interface MTU (RFC 2132 s5.1).
    INTERFACE_MTU = 26,
    /// Broadcast address (RFC 2132 s5.3).
    BROADCAST_ADDRESS = 28,
    /// NTP servers (RFC 2132 s8.3).
    NTP_SERVERS = 42,
    /// Vendor-specific information (RFC 2132 s8.4).
    VENDOR_SPECIFIC = 43,
    /// Address that the client asks for (RFC 2132 s9.1).
    REQUESTED_IP = 50,
    /// Lease time in seconds (RFC 2132 s9.2).
    LEASE_TIME = 51,
    /// Options continue in file (1), sname (2) or both (3) (RFC 2132 s9.3).
    OVERLOAD = 52,
    /// DHCP message type (RFC 2132 s9.6).
    MESSAGE_TYPE = 53,
    /// Server identifier (RFC 2132 s9.7).
    SERVER_ID = 54,
    /// Parameter request list (RFC 2132 s9.8).
    PARAMETER_LIST = 55,
    /// Error text for a NAK or DECLINE (RFC 2132 s9.9).
    MESSAGE = 56,
    /// Largest message the client accepts, IP header included (RFC 2132 s9.10).
    MAX_MESSAGE_SIZE = 57,
    /// Renewal time T1 in seconds (RFC 2132 s9.11).
    RENEWAL_TIME = 58,
    /// Rebinding time T2 in seconds (RFC 2132 s9.12).
    REBINDING_TIME = 59,
    /// Vendor class identifier (RFC 2132 s9.13).
    VENDOR_CLASS = 60,
    /// Client identifier (RFC 2132 s9.14; echoed by RFC 6842).
    CLIENT_ID = 61,
    /// TFTP server name (RFC 2132 s9.4).
    TFTP_SERVER_NAME = 66,
    /// Boot file name (RFC 2132 s9.5).
    BOOT_FILE_NAME = 67,
    /// User class (RFC 3004).
    USER_CLASS = 77,
    /// Rapid commit (RFC 4039).
    RAPID_COMMIT = 80,
    /// Client fully qualified domain name (RFC 4702).
    CLIENT_FQDN = 81,
    /// Relay agent information (RFC 3046).
    RELAY_AGENT_INFO = 82,
    /// Authentication (RFC 3118 s2).
    AUTHENTICATION = 90,
    /// Client system architectures (RFC 4578 s2.1).
    CLIENT_ARCH = 93,
    /// Client network interface identifier (RFC 4578 s2.2).
    CLIENT_NDI = 94,
    /// Client machine identifier, a UUID (RFC 4578 s2.3).
    CLIENT_UUID = 97,
    /// IPv6-only preferred: seconds without IPv4 (RFC 8925).
    IPV6_ONLY_PREFERRED = 108,
    /// Captive portal URI (RFC 8910).
    CAPTIVE_PORTAL = 114,
    /// Auto-configure (RFC 2563).
    AUTO_CONFIGURE = 116,
    /// Subnet selection (RFC 3011).
    SUBNET_SELECTION = 118,
    /// Domain search list (RFC 3397).
    DOMAIN_SEARCH = 119,
    /// Classless static routes (RFC 3442).
    CLASSLESS_ROUTES = 121,
    /// Vendor-identifying vendor class (RFC 3925 s3).
    VI_VENDOR_CLASS = 124,
    /// Vendor-identifying vendor-specific information (RFC 3925 s4).
    VI_VENDOR_SPECIFIC = 125,
    /// Takes a signed FORCERENEW: by which algorithms (RFC 6704 s3.1.1).
    FORCERENEW_NONCE_CAPABLE = 145,
    /// TFTP server addresses (RFC 5859).
    TFTP_SERVER_ADDRESS = 150,
    /// Encapsulated options of iPXE and Etherboot; iPXE always sends it (site-specific code).
    ETHERBOOT = 175,
    /// End of a field's options (RFC 2132 s3.2).
    END = 255,
}

/// Sub-options of the relay agent information (option 82).
pub mod relay {
    codes! {
        /// Agent circuit id (RFC 3046 s3.1).
        CIRCUIT_ID = 1,
        /// Agent remote id (RFC 3046 s3.2).
        REMOTE_ID = 2,
        /// Link selection: the client's subnet (RFC 3527).
        LINK_SELECTION = 5,
        /// Subscriber id (RFC 3993).
        SUBSCRIBER_ID = 6,
        /// Server identifier override (RFC 5107).
        SERVER_ID_OVERRIDE = 11,
        /// Relay source port: answer to the port the relay sent from (RFC 8357).
        SOURCE_PORT = 19,
    }
}

/// A 32-bit value such as a time in seconds.
pub fn u32(value: u32) -> [u8; 4] {
    value.to_be_bytes()
}

/// A 16-bit value such as an MTU.
pub fn u16(value: u16) -> [u8; 2] {
    value.to_be_bytes()
}

/// One address.
pub fn addr(addr: Ipv4Addr) -> [u8; 4] {
    addr.octets()
}

/// Appends a list of addresses.
pub fn addrs(addrs: &[Ipv4Addr], out: &mut Vec<u8>) {
    addrs.iter().for_each(|addr| out.extend_from_slice(&addr.octets()));
}

/// Appends the server's answer to the client's option 81 (RFC 4702 s4): `name` in the encoding
/// that the client used, and the flags that tell who updates the DNS.
///
/// `server_updates` says whether this server (or the one that reads its hosts file) keeps the
/// address record. Both result codes are 255, as s2.2 wants of servers. On error `out` is as it
/// was before.
pub fn fqdn_reply(
    client: &Fqdn<'_>,
    server_updates: bool,
    name: &str,
    out: &mut Vec<u8>,
) -> Result<(), NameError> {
    let start = out.len();
    let mut flags = client.flags() & Fqdn::E;
    if server_updates {
        flags |= Fqdn::S;
    } else {
        // RFC 4702 s2.1: the server does no update at all; S must be 0 then.
        flags |= Fqdn::N;
    }
    if (flags ^ client.flags()) & Fqdn::S != 0 {
        flags |= Fqdn::O;
    }
    out.extend_from_slice(&[flags, 255, 255]);
    if client.flags() & Fqdn::E == 0 {
        out.extend_from_slice(name.as_bytes());
        return Ok(());
    }
    encode_name(name, out).inspect_err(|_| out.truncate(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(client: &[u8], server_updates: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let client = Fqdn::new(client.into()).unwrap();
        fqdn_reply(&client, server_updates, "web1.example", &mut out).unwrap();
        out
    }

    #[test]
    fn the_name_goes_back_in_the_encoding_it_came_in() {
        assert_eq!(reply(b"\x05\0\0\x01a", true), b"\x05\xff\xff\x04web1\x07example\0");
        assert_eq!(reply(b"\x01\0\0a", true), b"\x01\xff\xffweb1.example");
    }

    #[test]
    fn flags_follow_rfc_4702() {
        let flags = |client, updates| reply(&[client, 0, 0], updates)[0];
        use super::Fqdn as F;
        assert_eq!(flags(F::S, true), F::S, "as the client wished");
        assert_eq!(flags(0, true), F::S | F::O, "the server does more than was asked");
        assert_eq!(flags(F::S, false), F::N | F::O, "the server does nothing");
        assert_eq!(flags(F::N, false), F::N, "nor did the client wish it to");
        assert_eq!(flags(F::N | F::E, true), F::S | F::O | F::E);
        // Bits that are not defined are not echoed (RFC 4702 s2.1: MBZ).
        assert_eq!(flags(0xf0 | F::S, true), F::S);
    }

    #[test]
    fn a_name_that_cannot_be_encoded_leaves_no_bytes() {
        let mut out = b"before".to_vec();
        let client = Fqdn::new(b"\x05\0\0".as_slice().into()).unwrap();
        assert!(fqdn_reply(&client, true, &"a".repeat(64), &mut out).is_err());
        assert_eq!(out, b"before");
    }

    #[test]
    fn numbers_and_addresses_are_big_endian() {
        assert_eq!((u32(0x0102_0304), u16(0x0102)), ([1, 2, 3, 4], [1, 2]));
        let mut out = Vec::new();
        addrs(&[Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)], &mut out);
        assert_eq!(out, [10, 0, 0, 1, 10, 0, 0, 2]);
        assert_eq!(addr(Ipv4Addr::LOCALHOST), [127, 0, 0, 1]);
    }
}
