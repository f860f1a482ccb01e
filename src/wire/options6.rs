//! DHCPv6 option and status codes by name, and the encoders for options whose value is only known
//! when the server answers. Configured options arrive encoded from `config`.

use std::net::Ipv6Addr;

use super::fqdn6::Fqdn6;
use crate::base::name::{NameError, encode_name};

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal,)*) => {
        $($(#[doc = $doc])* pub const $name: u16 = $code;)*
    };
}

codes! {
    /// Client identifier, a DUID (RFC 9915 s21.2).
    CLIENT_ID = 1,
    /// Server identifier, a DUID (RFC 9915 s21.3).
    SERVER_ID = 2,
    /// Identity association for addresses (RFC 9915 s21.4).
    IA_NA = 3,
    /// Identity association for temporary addresses (RFC 8415 s21.5; obsolete).
    IA_TA = 4,
    /// An address of an identity association (RFC 9915 s21.6).
    IA_ADDR = 5,
    /// Codes of the options asked for (RFC 9915 s21.7).
    ORO = 6,
    /// The server's preference, 0 to 255 (RFC 9915 s21.8).
    PREFERENCE = 7,
    /// Hundredths of a second since the exchange began (RFC 9915 s21.9).
    ELAPSED_TIME = 8,
    /// The message that a relay carries (RFC 9915 s21.10).
    RELAY_MSG = 9,
    /// Authentication (RFC 9915 s21.11).
    AUTH = 11,
    /// Server unicast (RFC 8415 s21.12; obsolete).
    UNICAST = 12,
    /// Status code and text (RFC 9915 s21.13).
    STATUS_CODE = 13,
    /// Two messages instead of four (RFC 9915 s21.14).
    RAPID_COMMIT = 14,
    /// User classes (RFC 9915 s21.15).
    USER_CLASS = 15,
    /// Vendor classes of one enterprise (RFC 9915 s21.16).
    VENDOR_CLASS = 16,
    /// Vendor-specific information of one enterprise (RFC 9915 s21.17).
    VENDOR_OPTS = 17,
    /// The relay's interface towards the client (RFC 9915 s21.18).
    INTERFACE_ID = 18,
    /// Which message a client is to answer a Reconfigure with (RFC 9915 s21.19).
    RECONF_MSG = 19,
    /// The client takes Reconfigure messages (RFC 9915 s21.20).
    RECONF_ACCEPT = 20,
    /// SIP server names (RFC 3319 s3.1).
    SIP_SERVER_NAMES = 21,
    /// SIP server addresses (RFC 3319 s3.2).
    SIP_SERVER_ADDRS = 22,
    /// DNS servers (RFC 3646 s3).
    DNS_SERVERS = 23,
    /// Domain search list (RFC 3646 s4).
    DOMAIN_LIST = 24,
    /// Identity association for prefix delegation (RFC 9915 s21.21).
    IA_PD = 25,
    /// A prefix of an identity association (RFC 9915 s21.22).
    IA_PREFIX = 26,
    /// NIS servers (RFC 3898 s3).
    NIS_SERVERS = 27,
    /// SNTP servers (RFC 4075 s4).
    SNTP_SERVERS = 31,
    /// Seconds until the information is asked for anew (RFC 9915 s21.23).
    INFORMATION_REFRESH_TIME = 32,
    /// Relay agent's remote id with its enterprise (RFC 4649 s3).
    REMOTE_ID = 37,
    /// Relay agent's subscriber id (RFC 4580 s2).
    SUBSCRIBER_ID = 38,
    /// Client's fully qualified domain name (RFC 4704 s4).
    CLIENT_FQDN = 39,
    /// POSIX time zone (RFC 4833 s3).
    POSIX_TIMEZONE = 41,
    /// Time zone by name (RFC 4833 s3).
    TZDB_TIMEZONE = 42,
    /// Options that a relay wants back (RFC 4994 s4).
    ECHO_REQUEST = 43,
    /// NTP servers by address or name (RFC 5908 s4).
    NTP_SERVER = 56,
    /// Boot file URL (RFC 5970 s3.1).
    BOOT_FILE_URL = 59,
    /// Boot file parameters (RFC 5970 s3.2).
    BOOT_FILE_PARAM = 60,
    /// Client system architectures (RFC 5970 s3.3).
    CLIENT_ARCH = 61,
    /// Client network interface identifier (RFC 5970 s3.4).
    CLIENT_NII = 62,
    /// Tunnel endpoint of DS-Lite (RFC 6334 s3).
    AFTR_NAME = 64,
    /// The prefix that is not used of a delegated one (RFC 6603 s4.2).
    PD_EXCLUDE = 67,
    /// Relay-supplied options (RFC 6422 s3).
    RELAY_SUPPLIED = 66,
    /// Link-layer address of the client, by its relay (RFC 6939 s4).
    CLIENT_LINKLAYER_ADDR = 79,
    /// Longest wait between Solicit messages, seconds (RFC 9915 s21.24).
    SOL_MAX_RT = 82,
    /// Longest wait between Information-request messages, seconds (RFC 9915 s21.25).
    INF_MAX_RT = 83,
    /// Captive portal URI (RFC 8910 s2.2).
    CAPTIVE_PORTAL = 103,
    /// UDP port that a relay sent from (RFC 8357 s4).
    RELAY_PORT = 135,
    /// Encrypted DNS resolvers (RFC 9463 s4).
    V6_DNR = 144,
}

/// Sub-options of the NTP server option (RFC 5908 s4).
pub mod ntp {
    codes! {
        /// Unicast address of a server.
        ADDR = 1,
        /// Multicast address of a server.
        MULTICAST = 2,
        /// Name of a server.
        FQDN = 3,
    }
}

/// Status codes (RFC 9915 s21.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum StatusCode {
    /// All went well; what no status code says too.
    Success = 0,
    /// Failure without a reason given.
    UnspecFail = 1,
    /// No addresses for an IA.
    NoAddrsAvail = 2,
    /// The binding asked about is not there.
    NoBinding = 3,
    /// The prefix of an address does not belong to the link.
    NotOnLink = 4,
    /// Send by multicast (RFC 8415; obsolete).
    UseMulticast = 5,
    /// No prefixes for an IA_PD.
    NoPrefixAvail = 6,
}

impl StatusCode {
    /// The code of that number, of those that servers and clients exchange here.
    pub fn from_number(number: u16) -> Option<StatusCode> {
        use StatusCode::*;
        let all =
            [Success, UnspecFail, NoAddrsAvail, NoBinding, NotOnLink, UseMulticast, NoPrefixAvail];
        all.get(usize::from(number)).copied()
    }
}

/// Appends a list of addresses.
pub fn addrs(addrs: &[Ipv6Addr], out: &mut Vec<u8>) {
    addrs.iter().for_each(|addr| out.extend_from_slice(&addr.octets()));
}

/// Appends a domain list: names one after the other, uncompressed (RFC 9915 s10). On error `out`
/// is as it was before.
pub fn domain_list<'a>(
    names: impl IntoIterator<Item = &'a str>,
    out: &mut Vec<u8>,
) -> Result<(), NameError> {
    let start = out.len();
    let mut names = names.into_iter();
    names.try_for_each(|name| encode_name(name, out)).inspect_err(|_| out.truncate(start))
}

/// Appends the server's answer to the client's option 39 (RFC 4704 s6): the flags that tell who
/// updates the DNS, and `name` in wire form.
///
/// `server_updates` says whether this server (or the one that reads its hosts file) keeps the
/// AAAA record. On error `out` is as it was before.
pub fn fqdn_reply(
    client: &Fqdn6<'_>,
    server_updates: bool,
    name: &str,
    out: &mut Vec<u8>,
) -> Result<(), NameError> {
    let start = out.len();
    // RFC 4704 s4.1: N says that the server does no update at all; S must be 0 then.
    let mut flags = if server_updates { Fqdn6::S } else { Fqdn6::N };
    if (flags ^ client.flags()) & Fqdn6::S != 0 {
        flags |= Fqdn6::O;
    }
    out.push(flags);
    encode_name(name, out).inspect_err(|_| out.truncate(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fqdn_flags_follow_rfc_4704() {
        let reply = |client: u8, updates| {
            let mut out = Vec::new();
            let bytes = [client];
            fqdn_reply(&Fqdn6::new(&bytes).unwrap(), updates, "web1.example", &mut out).unwrap();
            assert_eq!(out[1..], *b"\x04web1\x07example\0");
            out[0]
        };
        use Fqdn6 as F;
        assert_eq!(reply(F::S, true), F::S, "as the client wished");
        assert_eq!(reply(0, true), F::S | F::O, "the server does more than was asked");
        assert_eq!(reply(F::S, false), F::N | F::O, "the server does nothing");
        assert_eq!(reply(F::N, false), F::N, "nor did the client wish it to");
        assert_eq!(reply(0xf8 | F::S, true), F::S, "undefined bits are not echoed");
    }

    #[test]
    fn a_name_that_cannot_be_encoded_leaves_no_bytes() {
        let long = "a".repeat(64);
        let mut out = b"before".to_vec();
        assert!(fqdn_reply(&Fqdn6::new(&[1]).unwrap(), true, &long, &mut out).is_err());
        assert!(domain_list(["example", &long], &mut out).is_err());
        assert_eq!(out, b"before");
    }

    #[test]
    fn domain_lists_are_not_compressed() {
        let mut out = Vec::new();
        domain_list(["a.example", "b.example"], &mut out).unwrap();
        assert_eq!(out, b"\x01a\x07example\0\x01b\x07example\0");
    }

    #[test]
    fn status_codes_have_their_numbers() {
        for number in 0..7 {
            assert_eq!(StatusCode::from_number(number).map(|code| code as u16), Some(number));
        }
        assert_eq!(StatusCode::from_number(7), None);
    }
}
