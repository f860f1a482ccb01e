//! Times as people type them.

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Date, Duration, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset, Weekday};

use crate::api::leases::parse_time;
use crate::base::Timestamp;
use crate::daemon::clock;

const DATE: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");
const MINUTES: &[BorrowedFormatItem<'_>] = format_description!("[hour]:[minute]");
const SECONDS: &[BorrowedFormatItem<'_>] = format_description!("[hour]:[minute]:[second]");

/// A time in RFC 3339 or, in the zone of this host, a date, a day, a time of day, or a day and a
/// time.
pub(super) fn parse(text: &str) -> Result<Timestamp, String> {
    let here = |at: OffsetDateTime| UtcOffset::local_offset_at(at).ok();
    parse_at(text, clock::wall(), &here)
}

/// Which offset holds at a moment; `None` where that is not known.
type Zone<'z> = &'z dyn Fn(OffsetDateTime) -> Option<UtcOffset>;

fn parse_at(text: &str, now: Timestamp, zone: Zone<'_>) -> Result<Timestamp, String> {
    let text = text.trim();
    if let Some(exact) = parse_time(text) {
        return Ok(exact);
    }
    let want = || {
        "want a time as in `2026-11-24 14:03`, `yesterday 14:03`, `tuesday 14:03`, `14:03` or \
         2026-11-24T14:03:00Z"
            .to_owned()
    };
    let no_zone = || "the zone of this host is not known: name it, as in 2026-11-24T14:03:00Z";
    let now = i64::try_from(now.secs()).ok();
    let now = now.and_then(|now| OffsetDateTime::from_unix_timestamp(now).ok()).ok_or_else(want)?;
    let now = now.to_offset(zone(now).ok_or_else(no_zone)?);
    let local = read(text, now).ok_or_else(want)?;
    // The offset of the moment itself, which may be on the other side of a change.
    let guess = local.assume_offset(now.offset());
    let at = local.assume_offset(zone(guess).ok_or_else(no_zone)?);
    u64::try_from(at.unix_timestamp()).map(Timestamp::from_secs).map_err(|_| want())
}

/// What a text says where `now` is now; what has no date is the last time that it was.
fn read(text: &str, now: OffsetDateTime) -> Option<PrimitiveDateTime> {
    let text = text.to_ascii_lowercase();
    let parts = text.split_once(' ').or_else(|| text.split_once('t'));
    let (day, clock) = match parts.filter(|(day, _)| date(day, now).is_some()) {
        Some((day, clock)) => (Some(day), Some(clock.trim())),
        None if date(&text, now).is_some() => (Some(text.as_str()), None),
        None => (None, Some(text.as_str())),
    };
    let time = clock.map_or(Some(Time::MIDNIGHT), time_of_day)?;
    let day = day.map_or_else(|| Some(now.date()), |day| date(day, now))?;
    let at = PrimitiveDateTime::new(day, time);
    let is_ahead = at > PrimitiveDateTime::new(now.date(), now.time());
    match is_ahead {
        true if clock.is_some() && text.contains(':') && time_of_day(&text).is_some() => {
            at.checked_sub(Duration::DAY)
        }
        true if weekday(text.split(' ').next()?).is_some() => at.checked_sub(Duration::WEEK),
        _ => Some(at),
    }
}

fn time_of_day(text: &str) -> Option<Time> {
    Time::parse(text, MINUTES).or_else(|_| Time::parse(text, SECONDS)).ok()
}

fn date(text: &str, now: OffsetDateTime) -> Option<Date> {
    match text {
        "today" => Some(now.date()),
        "yesterday" => now.date().previous_day(),
        _ => match weekday(text) {
            Some(day) if day == now.weekday() => Some(now.date()),
            Some(day) => now.date().checked_sub(Duration::days(
                (7 + i64::from(now.weekday().number_days_from_monday())
                    - i64::from(day.number_days_from_monday()))
                    % 7,
            )),
            None => Date::parse(text, DATE).ok(),
        },
    }
}

fn weekday(text: &str) -> Option<Weekday> {
    let mut day = Weekday::Monday;
    for _ in 0..7 {
        let name = day.to_string().to_ascii_lowercase();
        if name == text || name.get(..3) == Some(text) {
            return Some(day);
        }
        day = day.next();
    }
    None
}

#[cfg(test)]
mod tests {
    use time::macros::offset;

    use super::*;
    use crate::api::leases::time_text;

    /// Central Europe in 2026: summer time from 29 March to 25 October, 01:00 UTC.
    fn berlin(at: OffsetDateTime) -> Option<UtcOffset> {
        let summer = (1_774_746_000..1_792_890_000).contains(&at.unix_timestamp());
        Some(if summer { offset!(+2) } else { offset!(+1) })
    }

    /// At 2026-11-24T10:00:00Z, a Tuesday.
    #[track_caller]
    fn said(text: &str) -> String {
        parse_at(text, Timestamp::from_secs(1_795_514_400), &berlin).map_or_else(|e| e, time_text)
    }

    #[test]
    fn people_say_times_in_many_ways() {
        for (text, want) in [
            ("2026-11-24T14:03:00Z", "2026-11-24T14:03:00Z"),
            ("2026-11-24T14:03:00+02:00", "2026-11-24T12:03:00Z"),
            ("2026-11-24 09:03", "2026-11-24T08:03:00Z"),
            ("2026-11-24T09:03:07", "2026-11-24T08:03:07Z"),
            ("2026-07-01 14:03", "2026-07-01T12:03:00Z"),
            ("2026-11-20", "2026-11-19T23:00:00Z"),
            ("09:03", "2026-11-24T08:03:00Z"),
            ("14:03", "2026-11-23T13:03:00Z"),
            ("yesterday 14:03", "2026-11-23T13:03:00Z"),
            ("today", "2026-11-23T23:00:00Z"),
            ("Tuesday 09:03", "2026-11-24T08:03:00Z"),
            ("tuesday 14:03", "2026-11-17T13:03:00Z"),
            ("Wed 14:03", "2026-11-18T13:03:00Z"),
            ("mon 14:03:30", "2026-11-23T13:03:30Z"),
        ] {
            assert_eq!(said(text), want, "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "noon", "25:00", "2026-13-01", "2026-11-24 14", "tuesday noon", "-1"] {
            assert!(said(text).starts_with("want a time"), "{text}: {}", said(text));
        }
        let nowhere = parse_at("14:03", Timestamp::from_secs(1_795_514_400), &|_| None);
        assert!(nowhere.unwrap_err().contains("zone"));
    }
}
