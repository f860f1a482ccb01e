//! Event logs: lines of `time,event,account,application,instance,network`.

use std::io::Read;

use crate::base::Timestamp;
use crate::telemetry::line::Moment;

/// The columns, in this order or any other.
const COLUMNS: [&str; 6] = ["time", "event", "account", "application", "instance", "network"];
/// Most events: each costs some 200 bytes.
pub const EVENTS_MAX: usize = 20_000_000;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: What,
    /// Whose.
    pub account: Box<str>,
    /// Of which application; empty for none.
    pub application: Box<str>,
    /// On which network.
    pub network: Box<str>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// An instance of this id came.
    Create(Box<str>),
    /// It went.
    Delete(Box<str>),
    /// It became known that so many will come, from then on, within so many seconds.
    Scheduled {
        /// When they begin to come.
        from: Timestamp,
        /// How many.
        count: u32,
        /// For how long, in seconds.
        duration_s: u32,
    },
}

/// What is wrong with a log, and where.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A line is none.
    #[error("line {0}: {1}")]
    Line(u64, String),
    /// It cannot be read.
    #[error(transparent)]
    Csv(#[from] csv::Error),
}

/// Reads a log; its events in the order of their times.
pub fn read(from: impl Read) -> Result<Vec<Event>, LogError> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(from);
    let headers = reader.headers()?.clone();
    let mut places = [0; COLUMNS.len()];
    for (place, name) in places.iter_mut().zip(COLUMNS) {
        let found = headers.iter().position(|header| header.trim() == name);
        let want = || format!("no column `{name}`, want {}", COLUMNS.join(","));
        *place = found.ok_or_else(|| LogError::Line(1, want()))?;
    }
    let mut events = Vec::new();
    let mut row = csv::StringRecord::new();
    while reader.read_record(&mut row)? {
        let line = row.position().map_or(0, csv::Position::line);
        let field = |at: usize| row.get(*places.get(at).unwrap_or(&0)).unwrap_or_default().trim();
        let fields = [field(0), field(1), field(2), field(3), field(4), field(5)];
        if events.len() >= EVENTS_MAX {
            return Err(LogError::Line(line, format!("more than {EVENTS_MAX} events")));
        }
        events.push(event(fields).map_err(|why| LogError::Line(line, why))?);
    }
    // Those of one moment stay in the order of the file.
    events.sort_by_key(|event| event.at);
    Ok(events)
}

fn event(
    [time, event, account, application, instance, network]: [&str; 6],
) -> Result<Event, String> {
    let named = [("account", account), ("instance", instance), ("network", network)];
    if let Some((name, _)) = named.iter().find(|(_, text)| text.is_empty()) {
        return Err(format!("no {name}"));
    }
    let what = match event {
        "create" => What::Create(instance.into()),
        "delete" => What::Delete(instance.into()),
        "scheduled" => scheduled(instance)?,
        other => return Err(format!("event is `{other}`, want create, delete or scheduled")),
    };
    Ok(Event {
        at: moment("time", time)?,
        what,
        account: account.into(),
        application: application.into(),
        network: network.into(),
    })
}

/// `at=TIME;count=N;duration_s=N`.
fn scheduled(text: &str) -> Result<What, String> {
    let part = |name: &str| {
        let found = text.split(';').find_map(|part| part.trim().strip_prefix(name));
        let value = found.and_then(|rest| rest.strip_prefix('='));
        value.ok_or_else(|| format!("`{text}` says no {name}, want at=TIME;count=N;duration_s=N"))
    };
    let number = |name: &str| {
        let text = part(name)?;
        text.parse().map_err(|_| format!("{name} is `{text}`, want a number"))
    };
    Ok(What::Scheduled {
        from: moment("at", part("at")?)?,
        count: number("count")?,
        duration_s: number("duration_s")?,
    })
}

fn moment(name: &str, text: &str) -> Result<Timestamp, String> {
    let want = || format!("{name} is `{text}`, want a time as in 2027-01-31T12:00:00Z");
    Moment::parse(text).map(|moment| moment.0).ok_or_else(want)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "time,event,account,application,instance,network\n";

    #[test]
    fn events_come_in_the_order_of_their_times() {
        let text = format!(
            "{HEAD}2026-03-02T00:00:05Z,create,a,a-web,i-2,net\n\
             2026-03-02T00:00:01Z,scheduled,a,,at=2026-03-02T01:00:00Z;count=3;duration_s=60,net\n\
             2026-03-02T00:00:05Z,delete,a,a-web,i-2,net\n"
        );
        let events = read(text.as_bytes()).unwrap();
        assert!(matches!(events[0].what, What::Scheduled { count: 3, duration_s: 60, .. }));
        assert_eq!(events[1].what, What::Create("i-2".into()));
        assert_eq!(events[2].what, What::Delete("i-2".into()));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let said = |text: &str| read(text.as_bytes()).unwrap_err().to_string();
        assert!(said("time,event\n").starts_with("line 1: no column `account`"));
        let line = |rest: &str| said(&format!("{HEAD}2026-03-02T00:00:05Z,{rest}\n"));
        assert_eq!(
            line("born,a,b,i,n"),
            "line 2: event is `born`, want create, delete or scheduled"
        );
        assert_eq!(line("create,a,b,,n"), "line 2: no instance");
        assert!(line("scheduled,a,b,count=3,n").contains("says no at, want"));
    }
}
