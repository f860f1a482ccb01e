//! What a DHCPv6 message is, by its first byte.

/// DHCPv6 message types (RFC 9915 s7.3, 5007, 5460, 6977, 7341, 7653, 8156, 9686).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum MessageType6 {
    /// SOLICIT.
    Solicit = 1,
    /// ADVERTISE.
    Advertise = 2,
    /// REQUEST.
    Request = 3,
    /// CONFIRM.
    Confirm = 4,
    /// RENEW.
    Renew = 5,
    /// REBIND.
    Rebind = 6,
    /// REPLY.
    Reply = 7,
    /// RELEASE.
    Release = 8,
    /// DECLINE.
    Decline = 9,
    /// RECONFIGURE.
    Reconfigure = 10,
    /// INFORMATION-REQUEST.
    InformationRequest = 11,
    /// RELAY-FORW.
    RelayForw = 12,
    /// RELAY-REPL.
    RelayRepl = 13,
    /// LEASEQUERY (RFC 5007).
    LeaseQuery = 14,
    /// LEASEQUERY-REPLY (RFC 5007).
    LeaseQueryReply = 15,
    /// LEASEQUERY-DONE (RFC 5460).
    LeaseQueryDone = 16,
    /// LEASEQUERY-DATA (RFC 5460).
    LeaseQueryData = 17,
    /// RECONFIGURE-REQUEST (RFC 6977).
    ReconfigureRequest = 18,
    /// RECONFIGURE-REPLY (RFC 6977).
    ReconfigureReply = 19,
    /// DHCPV4-QUERY (RFC 7341).
    Dhcpv4Query = 20,
    /// DHCPV4-RESPONSE (RFC 7341).
    Dhcpv4Response = 21,
    /// ACTIVELEASEQUERY (RFC 7653).
    ActiveLeaseQuery = 22,
    /// STARTTLS (RFC 7653).
    StartTls = 23,
}

impl MessageType6 {
    /// All of them, in the order of their numbers, which start at 1.
    pub const ALL: [MessageType6; 23] = {
        use MessageType6::*;
        [
            Solicit,
            Advertise,
            Request,
            Confirm,
            Renew,
            Rebind,
            Reply,
            Release,
            Decline,
            Reconfigure,
            InformationRequest,
            RelayForw,
            RelayRepl,
            LeaseQuery,
            LeaseQueryReply,
            LeaseQueryDone,
            LeaseQueryData,
            ReconfigureRequest,
            ReconfigureReply,
            Dhcpv4Query,
            Dhcpv4Response,
            ActiveLeaseQuery,
            StartTls,
        ]
    };

    /// The type of that number.
    pub fn from_byte(byte: u8) -> Option<MessageType6> {
        MessageType6::ALL.get(usize::from(byte).checked_sub(1)?).copied()
    }
}

/// What a message is, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind6 {
    /// A known message type.
    Known(MessageType6),
    /// Any other number.
    Unknown(u8),
}

impl Kind6 {
    /// What this byte says.
    pub fn from_byte(byte: u8) -> Kind6 {
        MessageType6::from_byte(byte).map_or(Kind6::Unknown(byte), Kind6::Known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_types_agree() {
        for (i, kind) in MessageType6::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, i + 1);
            assert_eq!(Kind6::from_byte(kind as u8), Kind6::Known(kind));
        }
        for none in [0, 24, 255] {
            assert_eq!(Kind6::from_byte(none), Kind6::Unknown(none));
        }
    }
}
