//! What is counted of each packet: what it asks for, and what becomes of it.

use crate::wire::v4_kind::{Kind, MessageType};
use crate::wire::v6_kind::{Kind6, MessageType6};

use super::effects::{DropReason, Effects};

macro_rules! labelled {
    ($(#[doc = $about:literal])* $name:ident { $($(#[doc = $doc:literal])* $item:ident = $labels:expr,)* }) => {
        $(#[doc = $about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[doc = $doc])* $item,)* }

        impl $name {
            /// All of them, in order: `self as usize` is the index.
            pub const ALL: &'static [$name] = &[$($name::$item),*];

            /// Family and type, as metrics say them.
            pub fn labels(self) -> (&'static str, &'static str) {
                match self { $($name::$item => $labels,)* }
            }
        }
    };
}

labelled! {
    /// What a packet of a client asks for.
    Asked {
        /// DHCPDISCOVER.
        Discover = ("v4", "discover"),
        /// DHCPREQUEST, in every state of the client.
        Request = ("v4", "request"),
        /// DHCPDECLINE.
        Decline = ("v4", "decline"),
        /// DHCPRELEASE.
        Release = ("v4", "release"),
        /// DHCPINFORM.
        Inform = ("v4", "inform"),
        /// BOOTREQUEST without a message type.
        Bootp = ("v4", "bootp"),
        /// What cannot be read, or no client sends.
        Other = ("v4", "other"),
        /// SOLICIT.
        Solicit = ("v6", "solicit"),
        /// REQUEST.
        Request6 = ("v6", "request"),
        /// CONFIRM.
        Confirm = ("v6", "confirm"),
        /// RENEW.
        Renew = ("v6", "renew"),
        /// REBIND.
        Rebind = ("v6", "rebind"),
        /// RELEASE.
        Release6 = ("v6", "release"),
        /// DECLINE.
        Decline6 = ("v6", "decline"),
        /// INFORMATION-REQUEST.
        Information = ("v6", "information-request"),
        /// What cannot be read, or no client sends.
        Other6 = ("v6", "other"),
    }
}

labelled! {
    /// What a reply is.
    Answered {
        /// DHCPOFFER.
        Offer = ("v4", "offer"),
        /// DHCPACK, and what BOOTP has in its place.
        Ack = ("v4", "ack"),
        /// DHCPNAK.
        Nak = ("v4", "nak"),
        /// DHCPFORCERENEW.
        ForceRenew = ("v4", "forcerenew"),
        /// ADVERTISE.
        Advertise = ("v6", "advertise"),
        /// REPLY.
        Reply = ("v6", "reply"),
        /// RECONFIGURE.
        Reconfigure = ("v6", "reconfigure"),
        /// A router advertisement.
        RouterAdvertisement = ("v6", "router-advertisement"),
    }
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has a reply, at once or when its lease is durable.
    Answered,
    /// It wants none, or repeats one that waits.
    Silent,
    /// It waits until the wire has spoken, and is counted again then.
    Deferred,
    /// It has none, for a reason.
    Dropped(DropReason),
}

/// How many outcomes there are.
pub const OUTCOMES: usize = 3 + DropReason::ALL.len();

impl Outcome {
    /// Its place among all of them, below [`OUTCOMES`].
    pub fn index(self) -> usize {
        match self {
            Outcome::Answered => 0,
            Outcome::Silent => 1,
            Outcome::Deferred => 2,
            Outcome::Dropped(reason) => 3 + reason as usize,
        }
    }

    /// Outcome and reason as metrics say them, of the one at `index`.
    pub fn labels(index: usize) -> (&'static str, &'static str) {
        match index {
            0 => ("answered", ""),
            1 => ("silent", ""),
            2 => ("deferred", ""),
            _ => ("dropped", DropReason::ALL.get(index - 3).map_or("", |reason| reason.as_str())),
        }
    }
}

impl Asked {
    /// By option 53.
    pub fn of(kind: Kind) -> Asked {
        match kind {
            Kind::Bootp => Asked::Bootp,
            Kind::Dhcp(MessageType::Discover) => Asked::Discover,
            Kind::Dhcp(MessageType::Request) => Asked::Request,
            Kind::Dhcp(MessageType::Decline) => Asked::Decline,
            Kind::Dhcp(MessageType::Release) => Asked::Release,
            Kind::Dhcp(MessageType::Inform) => Asked::Inform,
            Kind::Dhcp(_) | Kind::Unknown(_) => Asked::Other,
        }
    }

    /// By the first byte.
    pub fn of6(kind: Kind6) -> Asked {
        match kind {
            Kind6::Known(MessageType6::Solicit) => Asked::Solicit,
            Kind6::Known(MessageType6::Request) => Asked::Request6,
            Kind6::Known(MessageType6::Confirm) => Asked::Confirm,
            Kind6::Known(MessageType6::Renew) => Asked::Renew,
            Kind6::Known(MessageType6::Rebind) => Asked::Rebind,
            Kind6::Known(MessageType6::Release) => Asked::Release6,
            Kind6::Known(MessageType6::Decline) => Asked::Decline6,
            Kind6::Known(MessageType6::InformationRequest) => Asked::Information,
            Kind6::Known(_) | Kind6::Unknown(_) => Asked::Other6,
        }
    }
}

/// How things stood before a packet was decided on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    replies: usize,
    deferred: u64,
}

impl Before {
    /// `deferred` is how many packets have ever waited.
    pub(super) fn of(fx: &Effects, deferred: u64) -> Before {
        Before { replies: replies(fx), deferred }
    }

    /// What became of it, by how things stand now.
    pub(super) fn outcome(
        self,
        result: Result<(), DropReason>,
        fx: &Effects,
        deferred: u64,
    ) -> Outcome {
        match result {
            Err(reason) => Outcome::Dropped(reason),
            Ok(()) if replies(fx) > self.replies => Outcome::Answered,
            Ok(()) if deferred > self.deferred => Outcome::Deferred,
            Ok(()) => Outcome::Silent,
        }
    }
}

fn replies(fx: &Effects) -> usize {
    fx.send_now.len() + fx.send_after.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_place_and_a_name_of_its_own() {
        assert!(Asked::ALL.iter().enumerate().all(|(i, asked)| *asked as usize == i));
        assert!(Answered::ALL.iter().enumerate().all(|(i, answered)| *answered as usize == i));
        let names: std::collections::BTreeSet<_> = (0..OUTCOMES).map(Outcome::labels).collect();
        assert_eq!(names.len(), OUTCOMES);
        let last = DropReason::ALL.last().copied().map(Outcome::Dropped);
        assert_eq!(last.map(Outcome::index), Some(OUTCOMES - 1));
    }
}
