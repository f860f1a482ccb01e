//! Events: what happened to instances and applications, and what is known to happen.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::Timestamp;

/// Names an event for as long as it is kept; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(pub u64);

/// What kind of event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// An instance was started again.
    Restart,
    /// An application was scaled.
    Scaling,
    /// A new version of an application goes out.
    Deploy,
    /// Demand of its own for a time, such as a sale.
    Campaign,
    /// Work that is done at set times.
    BatchWindow,
    /// An instance reports an error.
    Error,
    /// Work on hosts or networks.
    Maintenance,
}

impl EventKind {
    /// All by name.
    pub const NAMED: [(&str, EventKind); 7] = [
        ("restart", EventKind::Restart),
        ("scaling", EventKind::Scaling),
        ("deploy", EventKind::Deploy),
        ("campaign", EventKind::Campaign),
        ("batch-window", EventKind::BatchWindow),
        ("error", EventKind::Error),
        ("maintenance", EventKind::Maintenance),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        EventKind::NAMED.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// Back from [`EventKind::name`].
    pub fn named(name: &str) -> Option<EventKind> {
        EventKind::NAMED.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }
}

/// What happened, or is known to happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its number.
    pub id: EventId,
    /// What it is.
    pub kind: EventKind,
    /// Whom it concerns; everybody without.
    pub account: Option<Arc<str>>,
    /// Which application.
    pub application: Option<Arc<str>>,
    /// Which instance.
    pub instance: Option<Arc<str>>,
    /// When it begins or began, in milliseconds since the epoch.
    #[serde(with = "millis")]
    pub start: Timestamp,
    /// When it ends or ended; what has none is a moment.
    #[serde(with = "millis_option")]
    pub end: Option<Timestamp>,
    /// How many instances it is expected to add, or take away where negative.
    pub size: Option<f64>,
    /// In words, for people.
    pub note: Option<Arc<str>>,
    /// Who said it.
    pub said_by: Arc<str>,
    /// When it was said.
    #[serde(with = "millis")]
    pub said_at: Timestamp,
}

mod millis {
    use super::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(time.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Timestamp, D::Error> {
        u64::deserialize(d).map(Timestamp)
    }
}

mod millis_option {
    use super::Timestamp;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(t: &Option<Timestamp>, s: S) -> Result<S::Ok, S::Error> {
        t.map(|time| time.0).serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::<u64>::deserialize(d)?.map(Timestamp))
    }
}
