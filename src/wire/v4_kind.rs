//! What a DHCPv4 message is, by its option 53.

/// DHCP message types (option 53; RFC 2132 s9.6, 3203, 4388, 6926, 7724).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum MessageType {
    /// DHCPDISCOVER.
    Discover = 1,
    /// DHCPOFFER.
    Offer = 2,
    /// DHCPREQUEST.
    Request = 3,
    /// DHCPDECLINE.
    Decline = 4,
    /// DHCPACK.
    Ack = 5,
    /// DHCPNAK.
    Nak = 6,
    /// DHCPRELEASE.
    Release = 7,
    /// DHCPINFORM.
    Inform = 8,
    /// DHCPFORCERENEW (RFC 3203).
    ForceRenew = 9,
    /// DHCPLEASEQUERY (RFC 4388).
    LeaseQuery = 10,
    /// DHCPLEASEUNASSIGNED (RFC 4388).
    LeaseUnassigned = 11,
    /// DHCPLEASEUNKNOWN (RFC 4388).
    LeaseUnknown = 12,
    /// DHCPLEASEACTIVE (RFC 4388).
    LeaseActive = 13,
    /// DHCPBULKLEASEQUERY (RFC 6926).
    BulkLeaseQuery = 14,
    /// DHCPLEASEQUERYDONE (RFC 6926).
    LeaseQueryDone = 15,
    /// DHCPACTIVELEASEQUERY (RFC 7724).
    ActiveLeaseQuery = 16,
    /// DHCPLEASEQUERYSTATUS (RFC 7724).
    LeaseQueryStatus = 17,
    /// DHCPTLS (RFC 7724).
    Tls = 18,
}

impl MessageType {
    /// All of them, in the order of their numbers, which start at 1.
    pub const ALL: [MessageType; 18] = {
        use MessageType::*;
        [
            Discover,
            Offer,
            Request,
            Decline,
            Ack,
            Nak,
            Release,
            Inform,
            ForceRenew,
            LeaseQuery,
            LeaseUnassigned,
            LeaseUnknown,
            LeaseActive,
            BulkLeaseQuery,
            LeaseQueryDone,
            ActiveLeaseQuery,
            LeaseQueryStatus,
            Tls,
        ]
    };

    /// The type of that number.
    pub fn from_byte(byte: u8) -> Option<MessageType> {
        MessageType::ALL.get(usize::from(byte).checked_sub(1)?).copied()
    }
}

/// What a message is, by option 53.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No option 53: BOOTP (RFC 951, 1542).
    Bootp,
    /// A known DHCP message type.
    Dhcp(MessageType),
    /// A number that no RFC gives; 0 also where option 53 is not one byte long.
    Unknown(u8),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_types_agree() {
        for (i, kind) in MessageType::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, i + 1);
            assert_eq!(MessageType::from_byte(kind as u8), Some(kind));
        }
        for none in [0, 19, 255] {
            assert_eq!(MessageType::from_byte(none), None);
        }
    }
}
