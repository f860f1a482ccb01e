//! What a DHCPv6 client means, if its message is valid (RFC 9915 s16).

use crate::engine::effects::DropReason;
use crate::wire::Message6;
use crate::wire::v6_kind::{Kind6, MessageType6};

/// A valid request of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request6 {
    /// SOLICIT (s16.2).
    Solicit,
    /// REQUEST to this server (s16.4).
    Request,
    /// CONFIRM (s16.5).
    Confirm,
    /// RENEW to this server (s16.6).
    Renew,
    /// REBIND (s16.7).
    Rebind,
    /// DECLINE to this server (s16.8).
    Decline,
    /// RELEASE to this server (s16.9).
    Release,
    /// INFORMATION-REQUEST, to this server or to all (s16.12).
    Information,
}

/// Whether a message must, must not, or may name a server.
enum Server {
    Must,
    MustNot,
    May,
}

impl Request6 {
    /// Reads a message to the server with this DUID.
    pub fn of(msg: &Message6<'_>, duid: &[u8]) -> Result<Request6, DropReason> {
        use Server::*;
        let (request, server) = match msg.kind() {
            Kind6::Known(MessageType6::Solicit) => (Request6::Solicit, MustNot),
            Kind6::Known(MessageType6::Request) => (Request6::Request, Must),
            Kind6::Known(MessageType6::Confirm) => (Request6::Confirm, MustNot),
            Kind6::Known(MessageType6::Renew) => (Request6::Renew, Must),
            Kind6::Known(MessageType6::Rebind) => (Request6::Rebind, MustNot),
            Kind6::Known(MessageType6::Decline) => (Request6::Decline, Must),
            Kind6::Known(MessageType6::Release) => (Request6::Release, Must),
            Kind6::Known(MessageType6::InformationRequest) => (Request6::Information, May),
            Kind6::Known(_) => return Err(DropReason::NotARequest),
            Kind6::Unknown(_) => return Err(DropReason::UnknownType),
        };
        let information = request == Request6::Information;
        // s16.12: an INFORMATION-REQUEST may be anonymous, and asks for no address.
        if msg.client_id().is_none() && !information {
            return Err(DropReason::NoClientId);
        }
        if information && msg.ias().next().is_some() {
            return Err(DropReason::Malformed);
        }
        match (server, msg.server_id()) {
            (Must, None) | (MustNot, Some(_)) => Err(DropReason::ServerIdRule),
            (Must | May, Some(named)) if named != duid => Err(DropReason::OtherServer),
            _ => Ok(request),
        }
    }

    /// Whether it asks for addresses or prefixes, or for more time with them.
    pub fn wants_resources(self) -> bool {
        matches!(self, Request6::Solicit | Request6::Request | Request6::Renew | Request6::Rebind)
    }

    /// Whether clients may send it to the servers' group only.
    pub fn is_multicast_only(self) -> bool {
        matches!(
            self,
            Request6::Solicit | Request6::Confirm | Request6::Rebind | Request6::Information
        )
    }
}
