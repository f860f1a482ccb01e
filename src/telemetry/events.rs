//! The events that are kept, in the order in which they were said.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::base::Timestamp;

use super::catalogue::Scope;
use super::event::{Event, EventId, EventKind};
use super::line::EventDraft;

/// Most events at once.
pub(super) const EVENTS_MAX: usize = 50_000;

/// Which events one asks for.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Of this kind.
    pub kind: Option<EventKind>,
    /// Of this account; those of nobody in particular concern it too.
    pub account: Option<Arc<str>>,
    /// Not over before this moment.
    pub from: Option<Timestamp>,
    /// Begun before this moment.
    pub to: Option<Timestamp>,
    /// What the asker may see.
    pub scope: Scope,
}

impl EventFilter {
    fn wants(&self, event: &Event) -> bool {
        let of_account = match (&self.account, &event.account) {
            (Some(wanted), Some(of)) => wanted == of,
            _ => true,
        };
        of_account
            && (event.account.is_none() || self.scope.has(event.account.as_deref()))
            && self.kind.is_none_or(|kind| kind == event.kind)
            && self.from.is_none_or(|from| over(event) >= from)
            && self.to.is_none_or(|to| event.start < to)
    }
}

/// When an event is over.
fn over(event: &Event) -> Timestamp {
    event.end.unwrap_or(event.start)
}

/// The events.
#[derive(Debug, Default)]
pub(super) struct Events {
    by_id: BTreeMap<EventId, Event>,
    by_end: BTreeSet<(Timestamp, EventId)>,
    /// The highest number that was ever given; 0 for none.
    last: u64,
}

impl Events {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The highest number that was ever given.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// All, as they were said.
    pub(super) fn all(&self) -> impl Iterator<Item = &Event> {
        self.by_id.values()
    }

    /// The event of this number.
    pub(super) fn get(&self, id: EventId) -> Option<&Event> {
        self.by_id.get(&id)
    }

    /// Gives an event its number. `None` if there is no room: none of the others is over.
    pub(super) fn number(
        &mut self,
        draft: EventDraft,
        said_by: Arc<str>,
        now: Timestamp,
    ) -> Option<Event> {
        if self.by_id.len() >= EVENTS_MAX {
            let (end, oldest) = *self.by_end.first()?;
            if end >= now {
                return None;
            }
            self.forget(oldest);
        }
        self.last += 1;
        let EventDraft { kind, account, application, instance, start, end, size, note } = draft;
        let id = EventId(self.last);
        let said_at = now;
        Some(Event {
            id,
            kind,
            account,
            application,
            instance,
            start,
            end,
            size,
            note,
            said_by,
            said_at,
        })
    }

    /// Takes note of one.
    pub(super) fn add(&mut self, event: Event) {
        self.last = self.last.max(event.id.0);
        self.by_end.insert((over(&event), event.id));
        if let Some(before) = self.by_id.insert(event.id, event) {
            let same = self.by_id.get(&before.id).is_some_and(|now| over(now) == over(&before));
            if !same {
                self.by_end.remove(&(over(&before), before.id));
            }
        }
    }

    /// Lets one go.
    pub(super) fn forget(&mut self, id: EventId) -> Option<Event> {
        let event = self.by_id.remove(&id)?;
        self.by_end.remove(&(over(&event), id));
        Some(event)
    }

    /// Lets go of all that were over before `oldest`.
    pub(super) fn forget_before(&mut self, oldest: Timestamp) {
        while let Some((end, id)) = self.by_end.first().copied().filter(|(end, _)| *end < oldest) {
            self.by_end.remove(&(end, id));
            self.by_id.remove(&id);
        }
    }

    /// The numbers that were given are never given again.
    pub(super) fn restore_last(&mut self, last: u64) {
        self.last = self.last.max(last);
    }

    /// Up to `limit` events that `filter` wants, after `after`; and whether there are more.
    pub(super) fn page(
        &self,
        filter: &EventFilter,
        after: EventId,
        limit: usize,
    ) -> (Vec<Event>, bool) {
        let later = self.by_id.range(EventId(after.0.saturating_add(1))..).map(|(_, event)| event);
        let mut wanted = later.filter(|event| filter.wants(event));
        let page: Vec<Event> = wanted.by_ref().take(limit).cloned().collect();
        (page, wanted.next().is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(start: u64, end: u64, account: Option<&str>) -> EventDraft {
        EventDraft {
            kind: EventKind::Campaign,
            account: account.map(Arc::from),
            application: None,
            instance: None,
            start: Timestamp(start),
            end: Some(Timestamp(end)),
            size: Some(3.0),
            note: None,
        }
    }

    fn with(events: &mut Events, draft: EventDraft) -> EventId {
        let event = events.number(draft, "root".into(), Timestamp(50)).unwrap();
        let id = event.id;
        events.add(event);
        id
    }

    #[test]
    fn events_are_found_by_whom_and_when() {
        let mut events = Events::default();
        let a = with(&mut events, draft(10, 20, Some("acme")));
        let b = with(&mut events, draft(15, 40, None));
        let c = with(&mut events, draft(30, 60, Some("other")));
        let page = |filter: EventFilter| -> Vec<EventId> {
            events.page(&filter, EventId(0), 10).0.iter().map(|event| event.id).collect()
        };
        assert_eq!(page(EventFilter::default()), [a, b, c]);
        let account = Some("acme".into());
        assert_eq!(page(EventFilter { account, ..Default::default() }), [a, b]);
        let from = Some(Timestamp(21));
        assert_eq!(page(EventFilter { from, ..Default::default() }), [b, c]);
        let to = Some(Timestamp(15));
        assert_eq!(page(EventFilter { to, ..Default::default() }), [a]);
        let scope = Scope::Accounts([Arc::from("other")].into());
        assert_eq!(page(EventFilter { scope, ..Default::default() }), [b, c]);
        assert!(
            page(EventFilter { kind: Some(EventKind::Deploy), ..Default::default() }).is_empty()
        );
        let (first, more) = events.page(&EventFilter::default(), a, 1);
        assert_eq!((first.first().unwrap().id, more), (b, true));
    }

    #[test]
    fn the_oldest_make_room_and_numbers_are_not_used_again() {
        let mut events = Events::default();
        for i in 0..EVENTS_MAX as u64 {
            with(&mut events, draft(i, i, None));
        }
        assert!(events.number(draft(1, 1, None), "a".into(), Timestamp(0)).is_none());
        let new = with(&mut events, draft(100, 100, None));
        assert_eq!((events.len(), new), (EVENTS_MAX, EventId(EVENTS_MAX as u64 + 1)));
        assert!(events.get(EventId(1)).is_none());
        events.forget(new);
        events.forget_before(Timestamp(1000));
        assert_eq!(events.last(), new.0);
        assert_eq!(with(&mut events, draft(1, 1, None)).0, new.0 + 1);
    }
}
