//! What the value of an option is.

/// A value, or a list of such values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct Type {
    pub(in crate::config) unit: Unit,
    pub(in crate::config) list: bool,
}

/// One value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Unit {
    Ip,
    Ip6,
    /// The address of one host.
    Host,
    /// Ones, then zeros (RFC 2132 s3.3).
    Mask,
    /// B, P, M or H node (RFC 2132 s8.7).
    NodeType,
    /// Two addresses: an address and a mask, or a destination and a router (RFC 2132 s4.3, s5.8).
    IpPair,
    /// A big-endian integer of `bytes` bytes within `min..=max`.
    Int {
        bytes: u8,
        min: i64,
        max: i64,
    },
    /// An unsigned 32-bit number of seconds.
    Seconds,
    /// The same within `min..=max`.
    SecondsWithin {
        min: u32,
        max: u32,
    },
    Bool,
    Text,
    /// Text with a length of two bytes in front (RFC 8572 s8.3).
    LongText,
    /// A DNS name (RFC 1035 s3.1).
    Domain,
    /// A DNS name, compressed against the names before it (RFC 3397).
    SearchDomain,
    Hex,
    /// Destination descriptor and router (RFC 3442).
    Route,
    /// Addresses, or names: never both in one option (RFC 3361).
    SipServer,
    /// The addresses of one server, with their length in front (RFC 7291 s4).
    PcpServer,
    /// A flag and addresses (RFC 2610 s3).
    SlpAgents,
    /// A flag and text (RFC 2610 s4).
    SlpScope,
    /// Offset, length and value of a port set (RFC 7618 s9).
    PortParams,
    /// 6rd prefix and border relays (RFC 5969 s7.1.1).
    SixRd,
    /// One server by address, group or name, in an option of its own (RFC 5908).
    NtpServer,
    /// Options within the option.
    Suboptions,
    /// Data by enterprise number (RFC 3925; RFC 9915 s21.16, s21.17): options, or opaque.
    Enterprises {
        encapsulated: bool,
    },
    /// Not for the configuration to set, and why.
    Refused(&'static str),
}

impl Unit {
    pub(in crate::config) const fn unsigned(bytes: u8, min: i64) -> Unit {
        Unit::Int { bytes, min, max: (1 << (8 * bytes as i64)) - 1 }
    }

    pub(in crate::config) const fn signed(bytes: u8) -> Unit {
        let bound = 1 << (8 * bytes as i64 - 1);
        Unit::Int { bytes, min: -bound, max: bound - 1 }
    }

    /// The value as it is written.
    fn form(self) -> String {
        match self {
            Unit::Mask => "\"255.255.255.0\"".into(),
            Unit::NodeType => "1, 2, 4 or 8".into(),
            Unit::Ip | Unit::Host => "\"10.0.0.1\"".into(),
            Unit::Ip6 => "\"2001:db8::1\"".into(),
            Unit::IpPair => "[\"10.1.0.0\", \"10.0.0.1\"]".into(),
            Unit::Int { min, max, .. } => format!("{min} to {max}"),
            Unit::Seconds => "\"30m\" or seconds".into(),
            Unit::SecondsWithin { min, max: u32::MAX } => {
                format!("\"30m\" or seconds, from {min}")
            }
            Unit::SecondsWithin { min, max } => format!("\"30m\" or seconds, {min} to {max}"),
            Unit::NtpServer => "\"2001:db8::1\"".into(),
            Unit::Bool => "true or false".into(),
            Unit::Text | Unit::LongText => "\"text\"".into(),
            Unit::Domain | Unit::SearchDomain => "\"example.net\"".into(),
            Unit::Hex => "{ hex = \"de ad\" }".into(),
            Unit::Route => "{ to = \"10.1.0.0/16\", via = \"10.0.0.1\" }".into(),
            Unit::SipServer => "\"sip.example.net\"".into(),
            Unit::PcpServer => "[\"10.0.0.1\"]".into(),
            Unit::SlpAgents => "{ mandatory = false, addresses = [\"10.0.0.1\"] }".into(),
            Unit::SlpScope => "{ mandatory = false, scope = \"text\" }".into(),
            Unit::PortParams => "{ offset = 6, psid_len = 8, psid = 52 }".into(),
            Unit::SixRd => {
                "{ mask_len = 8, prefix = \"2001:db8::/32\", relays = [\"10.0.0.1\"] }".into()
            }
            Unit::Suboptions => "{ suboptions = { \"6\" = { hex = \"08\" } } }".into(),
            Unit::Enterprises { encapsulated: true } => {
                "{ enterprises = { 4491 = { \"1\" = { hex = \"01\" } } } }".into()
            }
            Unit::Enterprises { encapsulated: false } => {
                "{ enterprises = { 4491 = [\"text\"] } }".into()
            }
            Unit::Refused(why) => format!("not settable: {why}"),
        }
    }
}

impl Type {
    pub(in crate::config) const fn one(unit: Unit) -> Type {
        Type { unit, list: false }
    }

    /// The value as it is written.
    pub(in crate::config) fn form(self) -> String {
        if self.list { format!("[{}, ..]", self.unit.form()) } else { self.unit.form() }
    }
}

/// The types that an operator's own definitions may name.
pub(in crate::config) const WORDS: [(&str, Unit); 12] = [
    ("ip", Unit::Ip),
    ("ip6", Unit::Ip6),
    ("u8", Unit::unsigned(1, 0)),
    ("u16", Unit::unsigned(2, 0)),
    ("u32", Unit::unsigned(4, 0)),
    ("i8", Unit::signed(1)),
    ("i16", Unit::signed(2)),
    ("i32", Unit::signed(4)),
    ("bool", Unit::Bool),
    ("text", Unit::Text),
    ("domain", Unit::Domain),
    ("hex", Unit::Hex),
];
