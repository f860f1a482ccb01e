//! Hours of the week, as in `"mon-fri 08:00-18:00"`. In UTC: local time has hours that come twice.

use crate::base::Timestamp;

use super::node::Node;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY_MIN: u64 = 24 * 60;
const WEEK_MIN: u64 = 7 * DAY_MIN;

/// The same hours on some days of each week. One that ends before it begins ends on the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// A bit for each day on which it begins; the lowest is Monday.
    days: u8,
    /// When it begins, in minutes since midnight.
    from: u16,
    /// How long it is, in minutes: up to a day.
    minutes: u16,
}

impl Window {
    /// Whether it holds a moment.
    pub fn contains(&self, at: Timestamp) -> bool {
        // The epoch was a Thursday.
        let minute = (at.0 / 60_000 + 3 * DAY_MIN) % WEEK_MIN;
        (0..7u64).filter(|day| self.days & (1 << day) != 0).any(|day| {
            let begin = day * DAY_MIN + u64::from(self.from);
            (minute + WEEK_MIN - begin) % WEEK_MIN < u64::from(self.minutes)
        })
    }

    /// When it is open next: at once if it holds this moment.
    pub fn opens(&self, after: Timestamp) -> Timestamp {
        if self.contains(after) {
            return after;
        }
        let minutes = after.0 / 60_000;
        let minute = (minutes + 3 * DAY_MIN) % WEEK_MIN;
        let begins = (0..7u64).filter(|day| self.days & (1 << day) != 0).map(|day| {
            let begin = day * DAY_MIN + u64::from(self.from);
            (begin + WEEK_MIN - minute) % WEEK_MIN
        });
        // Without a day there is no window.
        begins.min().map_or(Timestamp::NEVER, |wait| Timestamp((minutes + wait) * 60_000))
    }

    /// Reads one; `None` if it is none.
    pub fn parse(text: &str) -> Option<Window> {
        let mut words = text.split_ascii_whitespace();
        let (first, second) = (words.next()?, words.next());
        if words.next().is_some() {
            return None;
        }
        let (days, hours) = match second {
            Some(hours) => (days(first)?, hours),
            None => (0x7f, first),
        };
        let (from, to) = hours.split_once('-')?;
        let (from, to) = (minute(from)?, minute(to)?);
        if u64::from(from) == DAY_MIN {
            return None;
        }
        let minutes = if to > from { to - from } else { to + DAY_MIN as u16 - from };
        Some(Window { days, from, minutes })
    }
}

fn days(text: &str) -> Option<u8> {
    let day = |name: &str| DAYS.iter().position(|day| day.eq_ignore_ascii_case(name));
    let mut days = 0;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        let length = (last + 7 - first) % 7;
        (0..=length).for_each(|step| days |= 1 << ((first + step) % 7));
    }
    Some(days)
}

/// `HH:MM`, up to 24:00.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let digits = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(hour) || !digits(minute) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let at = hour * 60 + minute;
    (minute < 60 && u64::from(at) <= DAY_MIN).then_some(at)
}

impl Node<'_> {
    /// Hours of the week.
    pub(super) fn window(&self) -> Option<Window> {
        let want = "days and hours in UTC, as in \"mon-fri 08:00-18:00\"";
        let text = self.string(want)?;
        Window::parse(text).or_else(|| self.bad(format!("`{text}` are no hours of a week"), want))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Span;

    /// 2026-11-23 is a Monday; its midnight, in seconds since the epoch.
    const MONDAY: u64 = 1_795_392_000;

    fn holds(window: &str, day: u64, hour: u64, minute: u64) -> bool {
        let window = Window::parse(window).expect(window);
        window.contains(Timestamp::from_secs(MONDAY + day * 86_400 + hour * 3600 + minute * 60))
    }

    #[test]
    fn hours_of_some_days() {
        let office = "mon-fri 08:00-18:00";
        assert!(holds(office, 0, 8, 0) && holds(office, 4, 17, 59));
        assert!(!holds(office, 0, 7, 59) && !holds(office, 0, 18, 0) && !holds(office, 5, 12, 0));
        assert!(holds("Sat,SUN 00:00-24:00", 6, 23, 59) && !holds("sat,sun 00:00-24:00", 0, 0, 0));
        assert!(holds("12:00-13:00", 3, 12, 30));
    }

    #[test]
    fn what_ends_before_it_begins_ends_the_next_day() {
        assert!(holds("sun 22:00-06:00", 6, 23, 0) && holds("sun 22:00-06:00", 7, 5, 59));
        assert!(holds("sun 22:00-06:00", 0, 5, 59) && !holds("sun 22:00-06:00", 0, 6, 0));
        assert!(holds("fri-mon 01:00-02:00", 0, 1, 0) && !holds("fri-mon 01:00-02:00", 1, 1, 0));
        assert!(holds("08:00-08:00", 2, 7, 59));
    }

    #[test]
    fn what_is_none_is_refused() {
        for bad in ["", "mon", "8:00-9:00", "08:00", "08:60-09:00", "24:00-01:00", "25:00-26:00"] {
            assert_eq!(Window::parse(bad), None, "{bad}");
        }
        for bad in ["mon-fri 08:00-18:00 utc", "mo 08:00-09:00", "mon, 08:00-09:00", "+1:00-02:00"]
        {
            assert_eq!(Window::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn it_opens_when_it_begins() {
        let at = |day: u64, minute: u64| Timestamp::from_secs(MONDAY + day * 86_400 + minute * 60);
        let window = Window::parse("tue,sat 22:30-02:00").expect("a window");
        assert_eq!(window.opens(at(0, 5) + Span(999)), at(1, 1350));
        assert_eq!(window.opens(at(1, 1351)), at(1, 1351));
        assert_eq!(window.opens(at(2, 60)), at(2, 60), "the next day, of the night before");
        assert_eq!(window.opens(at(2, 120)), at(5, 1350));
        assert_eq!(window.opens(at(6, 120)), at(8, 1350), "the next week");
    }
}
