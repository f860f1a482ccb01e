//! `[network.standby]`: standbys that hold the same addresses as their actives.

use std::sync::Arc;

use crate::base::{Span, Timestamp};

use super::keys::key;
use super::node::Node;
use super::read::{duration, number};
use super::schema::Section;
use super::window::Window;

/// Most standbys of one network.
const MAX: i64 = 100_000;
/// The shortest and the longest time between two questions to an active.
const INTERVAL: (Span, Span) = (Span::from_ms(10), Span::from_secs(60));
/// How many questions must stay unanswered at least and at most.
const LOST: (i64, i64) = (3, 100);

pub(super) static STANDBY: Section = Section {
    path: "network.standby",
    header: "[network.standby]",
    about: "Standbys: machines that hold the addresses of others behind a gate, ready to take them over. They are named by the API or by `foreshadow standby add`; what is said here holds for those that are named from now on.",
    settings: false,
    keys: &[
        key(
            "timeout",
            "\"1h\"",
            "\"1h\"",
            "A standby that is not ready by then is dropped, 1m to 30d.",
        ),
        key(
            "max",
            "100",
            "100",
            "Most standbys on the network, 0 to 100000; with 0 there are none.",
        ),
        key(
            "on_failure",
            "\"switch\"",
            "\"alert\"",
            "What is done when an active has failed: `alert` says so, `switch` has its standby take over.",
        ),
        key(
            "unfenced",
            "\"allow\"",
            "\"deny\"",
            "Whether a standby may take over after a failure though nobody confirms that the former active is silenced. `allow` risks that both speak.",
        ),
        key(
            "windows",
            "[\"sat 02:00-05:00\"]",
            "[]",
            "Hours in UTC in which a planned switchover may begin; none: at any time. Others are refused unless they are forced, or wait for the next one. A failure waits for none.",
        ),
        key(
            "driver",
            "\"kvm\"",
            "none",
            "The `[[driver]]` that wakes a standby, brings over the last of its active's state, and ends a former active.",
        ),
        key("detect", "a table", "{}", "How fast the failure of an active is noticed."),
    ],
};

pub(super) static DETECT: Section = Section {
    path: "network.standby.detect",
    header: "[network.standby.detect]",
    about: "How fast the failure of an active is noticed where only the wire can tell: it is asked by ARP or neighbour solicitation, and has failed when so many questions in a row stay unanswered. The end of its process or of its link is noticed at once.",
    settings: false,
    keys: &[
        key("interval", "\"200ms\"", "\"200ms\"", "Between two questions, 10ms to 60s."),
        key("lost", "5", "5", "So many unanswered questions in a row are a failure, 3 to 100."),
    ],
};

/// `[network.standby]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandbyPolicy {
    /// One that is not ready after this time is dropped (default 1 h).
    pub timeout: Span,
    /// Most on the network (default 100).
    pub max: u32,
    /// What is done when an active has failed.
    pub on_failure: OnFailure,
    /// Whether a standby may be promoted after a failure though no fence is confirmed.
    pub unfenced: bool,
    /// When a planned switchover may begin; at any time if there are none.
    pub windows: Vec<Window>,
    /// The `[[driver]]` of its pairs.
    pub driver: Option<Arc<str>>,
    /// How a failure is noticed on the wire.
    pub detect: Detect,
}

impl StandbyPolicy {
    /// When a planned switchover may begin next: now, or when a window opens.
    pub fn opens(&self, now: Timestamp) -> Timestamp {
        self.windows.iter().map(|window| window.opens(now)).min().unwrap_or(now)
    }
}

/// `[network.standby.detect]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detect {
    /// Between two questions (default 200 ms).
    pub interval: Span,
    /// How many unanswered questions in a row are a failure (default 5).
    pub lost: u32,
}

/// `network.standby.on_failure`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// It is said, and nothing is done.
    #[default]
    Alert,
    /// The standby takes over.
    Switch,
}

impl Default for StandbyPolicy {
    fn default() -> StandbyPolicy {
        StandbyPolicy {
            timeout: Span::from_secs(3600),
            max: 100,
            on_failure: OnFailure::Alert,
            unfenced: false,
            windows: Vec::new(),
            driver: None,
            detect: Detect { interval: Span::from_ms(200), lost: 5 },
        }
    }
}

impl OnFailure {
    /// What is written, and what it means.
    pub const WORDS: [(&'static str, OnFailure); 2] =
        [("alert", OnFailure::Alert), ("switch", OnFailure::Switch)];

    /// The word that is written and that people read.
    pub fn as_str(self) -> &'static str {
        match self {
            OnFailure::Alert => "alert",
            OnFailure::Switch => "switch",
        }
    }

    /// From [`OnFailure::as_str`].
    pub fn parse(word: &str) -> Option<OnFailure> {
        OnFailure::WORDS.iter().find(|(name, _)| *name == word).map(|(_, of)| *of)
    }
}

/// `network.standby.unfenced`.
const UNFENCED: [(&str, bool); 2] = [("deny", false), ("allow", true)];

/// `standby` of a network.
pub(super) fn standby(node: Option<Node<'_>>) -> StandbyPolicy {
    let default = StandbyPolicy::default();
    let Some(table) = node.and_then(|n| n.table(&STANDBY)) else { return default };
    let get = |key: &str| table.get(key);
    let (minute, month) = (Span::from_secs(60), Span::from_secs(30 * 86_400));
    StandbyPolicy {
        timeout: duration(get("timeout"), minute, month, default.timeout),
        max: number(get("max"), 0, MAX, default.max),
        on_failure: get("on_failure").and_then(|n| n.word(&OnFailure::WORDS)).unwrap_or_default(),
        unfenced: get("unfenced").and_then(|n| n.word(&UNFENCED)).unwrap_or(default.unfenced),
        windows: get("windows")
            .map_or(Vec::new(), |n| n.each(Node::window).into_iter().map(|at| at.value).collect()),
        driver: get("driver").and_then(|n| super::driver::name(&n)),
        detect: detect(get("detect"), default.detect),
    }
}

fn detect(node: Option<Node<'_>>, default: Detect) -> Detect {
    let Some(table) = node.and_then(|n| n.table(&DETECT)) else { return default };
    Detect {
        interval: duration(table.get("interval"), INTERVAL.0, INTERVAL.1, default.interval),
        lost: number(table.get("lost"), LOST.0, LOST.1, default.lost),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check;

    const BASE: &str = "[[network]]\nname = \"a\"\ninterfaces = [\"br0\"]\n\
        [[network.subnet]]\nprefix = \"10.0.0.0/24\"\npools = [\"10.0.0.10\"]\n";

    fn faults(text: &str) -> usize {
        check(&format!("{BASE}{text}"), "test.toml").err().map_or(0, |faults| faults.list().len())
    }

    #[test]
    fn what_is_said_counts_and_the_rest_is_as_usual() {
        let text = "[network.standby]\nunfenced = \"allow\"\nmax = 0\n\
            detect = { interval = \"10ms\", lost = 3 }\n";
        let policy = check(&format!("{BASE}{text}"), "test.toml").unwrap().policy;
        let read = policy.networks[0].standby.clone();
        let detect = Detect { interval: Span::from_ms(10), lost: 3 };
        let usual = StandbyPolicy::default();
        assert_eq!(read, StandbyPolicy { unfenced: true, max: 0, detect, ..usual.clone() });
        let policy = check(BASE, "test.toml").unwrap().policy;
        assert_eq!(policy.networks[0].standby, usual);
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for bad in [
            "timeout = \"59s\"",
            "max = -1",
            "on_failure = \"panic\"",
            "unfenced = true",
            "detect = { interval = \"9ms\" }",
            "detect = { lost = 2 }",
            "detect = { every = 3 }",
            "windows = [\"sometimes\"]",
        ] {
            assert_eq!(faults(&format!("[network.standby]\n{bad}")), 1, "{bad}");
        }
    }
}
