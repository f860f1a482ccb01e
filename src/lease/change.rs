//! One durable fact: what the lease table returns for each write, and the store keeps.

use crate::base::{NetworkId, Resource, Timestamp};

use super::Lease;

/// The number of a commit batch. Batches become durable in this order, and fail from one number on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl Seq {
    /// The batch after this one.
    pub fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

/// A durable fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The whole new state of a binding, and why it is written; never an offer.
    Put(Lease, Cause),
    /// The binding of this resource is forgotten. If that ends a quarantine or a shadow: when.
    Remove(NetworkId, Resource, Option<Timestamp>),
    /// A small fact of the server's own, by name (its DUID, the clock, an instance).
    Meta(Box<str>, Box<[u8]>),
    /// The fact of this name is forgotten.
    Forget(Box<str>),
    /// Somebody did something: for the audit archive alone, no fact that is read at start.
    Act(Box<Act>),
}

macro_rules! causes {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal $text:literal,)*) => {
        /// Why a binding is written.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Cause {
            $($(#[doc = $doc])* $name,)*
            /// It was taken over from another server or a file, at this time: its own times are
            /// those of elsewhere.
            Imported(Timestamp),
        }

        impl Cause {
            /// All but [`Cause::Imported`].
            pub const TIMELESS: &'static [Cause] = &[$(Cause::$name),*];

            /// Its number in stored records, which never changes.
            pub fn code(self) -> u8 {
                match self {
                    $(Cause::$name => $code,)*
                    Cause::Imported(_) => IMPORTED,
                }
            }

            /// The word that people read.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Cause::$name => $text,)*
                    Cause::Imported(_) => "imported",
                }
            }
        }
    };
}

/// The number of [`Cause::Imported`] in stored records.
const IMPORTED: u8 = 1;

causes! {
    /// Its client asked again, or a shadow is held for longer: nobody holds anything that they did
    /// not before.
    /// Not kept.
    Renewed = 0 "renewed",
    /// It was acknowledged to a client that did not have it.
    Granted = 2 "granted",
    /// An unknown lease of a live client was taken over.
    Adopted = 3 "adopted",
    /// Its client has another hardware address now.
    Moved = 4 "moved",
    /// Its client gave it back.
    Released = 5 "released",
    /// Its client took another resource in its place.
    Abandoned = 6 "abandoned",
    /// Its time ran out, at its end.
    Expired = 7 "expired",
    /// Its client found the address in use.
    Declined = 8 "declined",
    /// A machine without a binding answers for the address.
    InUse = 9 "in-use",
    /// An operator ended it or put it out of use.
    Operator = 10 "operator",
    /// An instance was registered with it, before it booted.
    Registered = 11 "registered",
    /// The instance that had it was ended.
    InstanceEnded = 12 "instance-ended",
    /// It is held ahead of need: a demand shadow.
    Foreseen = 13 "foreseen",
    /// Its address is needed for a better tier: its client is to move.
    Draining = 14 "draining",
    /// Its client need not move any more.
    Spared = 15 "spared",
    /// Its standby took it over.
    Promoted = 16 "promoted",
}

impl Cause {
    /// Whether the archive keeps it: who holds the address changes.
    pub fn is_kept(self) -> bool {
        self != Cause::Renewed
    }

    /// When a binding that is written for this reason changed.
    pub fn at(self, lease: &Lease) -> Timestamp {
        match self {
            Cause::Imported(at) => at,
            // However late it was noticed.
            Cause::Expired => lease.until,
            _ => lease.updated,
        }
    }
}

/// The longest [`Act::who`], in bytes.
const WHO_MAX: usize = 128;
/// The longest [`Act::verb`], in bytes.
const VERB_MAX: usize = 32;
/// The longest [`Act::object`], in bytes.
const OBJECT_MAX: usize = 512;
/// The longest [`Act::account`], in bytes.
const ACCOUNT_MAX: usize = 128;
/// The longest [`Act::before`] and [`Act::after`], in bytes.
pub const ACT_JSON_MAX: usize = 2400;

/// What an operator or an orchestrator did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// When.
    pub at: Timestamp,
    /// Who: a user of this host, a token, a certificate.
    pub who: Box<str>,
    /// What was done, as a verb: "create", "change", "delete", "release".
    pub verb: Box<str>,
    /// To what, as a path of the API: "instances/i-7", "leases/10.0.0.7".
    pub object: Box<str>,
    /// The account that it concerns, if it concerns one.
    pub account: Option<Box<str>>,
    /// The object before, as JSON; `None` if there was none.
    pub before: Option<Box<str>>,
    /// The object afterwards, as JSON; `None` if there is none.
    pub after: Option<Box<str>>,
}

impl Act {
    /// The same within the bounds of a record: words are cut, and JSON that is too long is
    /// replaced by `{"omitted_bytes":N}`.
    pub fn bounded(mut self) -> Act {
        let words =
            [(&mut self.who, WHO_MAX), (&mut self.verb, VERB_MAX), (&mut self.object, OBJECT_MAX)];
        for (text, most) in words {
            cut(text, most);
        }
        if let Some(account) = &mut self.account {
            cut(account, ACCOUNT_MAX);
        }
        for json in [&mut self.before, &mut self.after].into_iter().flatten() {
            if json.len() > ACT_JSON_MAX {
                *json = format!("{{\"omitted_bytes\":{}}}", json.len()).into();
            }
        }
        self
    }
}

fn cut(text: &mut Box<str>, most: usize) {
    if text.len() > most {
        let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        *text = text.get(..end).unwrap_or_default().into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_causes_share_a_number_or_a_word() {
        let all: Vec<Cause> =
            Cause::TIMELESS.iter().copied().chain([Cause::Imported(Timestamp(1))]).collect();
        for (at, cause) in all.iter().enumerate() {
            let others = &all[..at];
            assert!(others.iter().all(|o| o.code() != cause.code()), "{cause:?}");
            assert!(others.iter().all(|o| o.as_str() != cause.as_str()), "{cause:?}");
        }
    }

    #[test]
    fn an_act_is_cut_to_its_bounds() {
        let long = "\u{e9}".repeat(4000);
        let act = Act {
            at: Timestamp(1),
            who: long.as_str().into(),
            verb: long.as_str().into(),
            object: long.as_str().into(),
            account: Some(long.as_str().into()),
            before: Some(long.as_str().into()),
            after: Some("{}".into()),
        };
        let act = act.bounded();
        assert_eq!((act.who.len(), act.verb.len(), act.object.len()), (128, 32, 512));
        assert_eq!(act.before.as_deref(), Some("{\"omitted_bytes\":8000}"));
        assert_eq!(act.after.as_deref(), Some("{}"));
    }
}
