//! The audit records of what is done by the API: who, what, before and after.

use serde::Serialize;

use crate::base::Timestamp;
use crate::lease::Act;

/// Longest texts of one audit record together, in bytes: less than a record of the store.
const ACT_BYTES_MAX: usize = 4500;

/// What somebody did, to what, and whose that is.
#[derive(Clone, Copy, Debug)]
pub struct Done<'a> {
    /// Who: [`super::caller::Caller::name`].
    pub who: &'a str,
    /// What: `create`, `release` ...
    pub verb: &'a str,
    /// To what, as a path of the API.
    pub object: &'a str,
    /// The account that it concerns.
    pub account: Option<&'a str>,
}

impl Done<'_> {
    /// Its audit records, of what was before and what is after: two where one would be too long.
    /// Views have no secrets.
    pub fn acts<V: Serialize>(
        self,
        at: Timestamp,
        before: Option<&V>,
        after: Option<&V>,
    ) -> Vec<Act> {
        let json = |view: Option<&V>| {
            view.and_then(|view| serde_json::to_string(view).ok()).map(Box::from)
        };
        let (before, after): (Option<Box<str>>, Option<Box<str>>) = (json(before), json(after));
        let len = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        let is_long = len(&before) + len(&after) > ACT_BYTES_MAX;
        let act = Act {
            at,
            who: self.who.into(),
            verb: self.verb.into(),
            object: self.object.into(),
            account: self.account.map(Box::from),
            before: None,
            after: None,
        };
        if is_long && before.is_some() && after.is_some() {
            return vec![Act { before, ..act.clone() }, Act { after, ..act }];
        }
        vec![Act { before, after, ..act }]
    }
}
