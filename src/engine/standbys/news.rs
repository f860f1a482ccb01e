//! What becomes of standbys, for whoever follows it.

use crate::base::Mac;

/// What became of a standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandbyNews {
    /// It was named.
    Named,
    /// Its agent says that its gate is in place.
    Gated,
    /// Its gate is not in place any more, or was found to leak.
    Ungated,
    /// Its driver says how far it is.
    Reported,
    /// It was acknowledged an address or prefix that it did not have.
    Told,
    /// It found its address in use: its gate lets through what it should not.
    Declined,
    /// The active found its address in use; whoever answers for it now decides whose it is.
    ActiveDeclined,
    /// Somebody with this hardware address answers for what the pair shares.
    Answered(Mac),
    /// A switchover is to begin when a window opens.
    Planned,
    /// The window opened, and the standby was not ready.
    NotBegun,
    /// A switchover was begun.
    Begun,
    /// A step of it was done.
    Stepped,
    /// It was seen to answer for the addresses: how long nobody did is known.
    Measured,
    /// It was called off before its point of no return.
    Aborted,
    /// The leases are the standby's.
    Promoted,
    /// It was dropped, by somebody who may.
    Dropped,
    /// It gave its address back, and was dropped.
    Released,
    /// It did not become ready in time, and was dropped.
    TimedOut,
    /// Its switchover is over, and its record is forgotten.
    Finished,
}

impl StandbyNews {
    /// Whether somebody should look: a gate that leaks, or a third that has the address.
    pub fn is_alarm(self) -> bool {
        matches!(
            self,
            StandbyNews::Declined
                | StandbyNews::ActiveDeclined
                | StandbyNews::Answered(_)
                | StandbyNews::NotBegun
        )
    }

    /// The word for logs.
    pub fn as_str(self) -> &'static str {
        match self {
            StandbyNews::Named => "named",
            StandbyNews::Gated => "gated",
            StandbyNews::Ungated => "ungated",
            StandbyNews::Reported => "reported",
            StandbyNews::Told => "told",
            StandbyNews::Declined => "declined",
            StandbyNews::ActiveDeclined => "active-declined",
            StandbyNews::Answered(_) => "answered",
            StandbyNews::Planned => "planned",
            StandbyNews::NotBegun => "not-begun",
            StandbyNews::Begun => "begun",
            StandbyNews::Stepped => "stepped",
            StandbyNews::Measured => "measured",
            StandbyNews::Aborted => "aborted",
            StandbyNews::Promoted => "promoted",
            StandbyNews::Dropped => "dropped",
            StandbyNews::Released => "released",
            StandbyNews::TimedOut => "timed-out",
            StandbyNews::Finished => "finished",
        }
    }
}
