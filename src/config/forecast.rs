//! `[forecast]`: what is done with forecasts of how many instances will start, and what they may
//! cost.

use std::sync::Arc;

use crate::base::Span;

use super::keys::key;
use super::node::Table;
use super::read::duration;
use super::schema::Section;

/// Most accounts that a list may name.
const NAMED_MAX: usize = 100_000;

const MODES: [(&str, ForecastMode); 3] = [
    ("off", ForecastMode::Off),
    ("forecast-only", ForecastMode::ForecastOnly),
    ("on", ForecastMode::On),
];

pub(super) static FORECAST: Section = Section {
    path: "forecast",
    header: "[forecast]",
    about: "This server's own forecasts of how many instances accounts start. A forecast adds to what `ready` of `shadow` keeps and never takes of it; where none is there, `ready` is all that is held.",
    settings: false,
    keys: &[
        key(
            "mode",
            "\"forecast-only\"",
            "\"off\"",
            "For accounts that no list here names: `off`; `forecast-only` says what it would do and keeps score; `on` holds shadows by it.",
        ),
        key("on", "[\"acme\"]", "none", "Accounts whose shadows are held by forecasts."),
        key("forecast_only", "[\"acme\"]", "none", "Accounts of which only the score is kept."),
        key("off", "[\"acme\"]", "none", "Accounts of which nothing is forecast."),
        key(
            "period",
            "\"15m\"",
            "\"15m\"",
            "How long the periods are that are forecast, 5m to 1h; it divides a day. Takes effect at the next start, without the history of other periods.",
        ),
        key(
            "lead",
            "\"1m\"",
            "\"1m\"",
            "How long before a period begins shadows are held for it, 10s to 5m; shorter than the period. Takes effect at the next start.",
        ),
        key(
            "cpu",
            "\"5%\"",
            "\"5%\"",
            "Share of each period for which forecasts may be computed; what is left then has none, the lowest priorities first.",
        ),
    ],
};

/// What is done with forecasts of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForecastMode {
    /// None are made.
    #[default]
    Off,
    /// The score is kept of what they would have done.
    ForecastOnly,
    /// Shadows are held by them.
    On,
}

/// `[forecast]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForecastPolicy {
    /// Of accounts that are not named.
    pub mode: ForecastMode,
    /// Of those that are, in the order of their names.
    pub named: Vec<(Arc<str>, ForecastMode)>,
    /// How long periods are.
    pub period: Span,
    /// How long before a period shadows are held for it.
    pub lead: Span,
    /// Share of the time that may be spent, in percent.
    pub cpu_percent: u8,
}

impl Default for ForecastPolicy {
    fn default() -> ForecastPolicy {
        ForecastPolicy {
            mode: ForecastMode::Off,
            named: Vec::new(),
            period: Span::from_secs(900),
            lead: Span::from_secs(60),
            cpu_percent: 5,
        }
    }
}

impl ForecastPolicy {
    /// What is done with forecasts of an account.
    pub fn mode(&self, account: &str) -> ForecastMode {
        let found = self.named.binary_search_by(|(name, _)| (**name).cmp(account));
        found.ok().and_then(|at| self.named.get(at)).map_or(self.mode, |(_, mode)| *mode)
    }

    /// Whether anything is forecast at all.
    pub fn is_off(&self) -> bool {
        let off = ForecastMode::Off;
        self.mode == off && self.named.iter().all(|(_, mode)| *mode == off)
    }
}

/// `[forecast]` of the document.
pub(super) fn forecast(root: &Table<'_>) -> ForecastPolicy {
    let default = ForecastPolicy::default();
    let Some(table) = root.get("forecast").and_then(|n| n.table(&FORECAST)) else { return default };
    let get = |key: &str| table.get(key);
    let secs = Span::from_secs;
    let mut named: Vec<(Arc<str>, ForecastMode)> = Vec::new();
    let lists = [
        ("on", ForecastMode::On),
        ("forecast_only", ForecastMode::ForecastOnly),
        ("off", default.mode),
    ];
    for (list, mode) in lists {
        let Some(node) = get(list) else { continue };
        let names = node.each(|name| name.name());
        if names.len() > NAMED_MAX {
            node.bad::<()>(format!("{} accounts", names.len()), &format!("at most {NAMED_MAX}"));
        }
        for name in names {
            if named.iter().any(|(known, _)| *known == name.value) {
                node.bad::<()>(format!("`{}` twice", name.value), "an account in one list, once");
            }
            named.push((name.value, mode));
        }
    }
    named.sort_by(|a, b| a.0.cmp(&b.0));
    let period = duration(get("period"), secs(300), secs(3600), default.period);
    if let Some(node) = get("period").filter(|_| 86_400_000 % period.0 != 0) {
        node.bad::<()>(format!("{period}"), "a time that divides a day");
    }
    let lead = duration(get("lead"), secs(10), secs(300), default.lead);
    if let Some(node) = get("lead").filter(|_| lead >= period) {
        node.bad::<()>(format!("{lead}"), "less than `period`");
    }
    ForecastPolicy {
        mode: get("mode").and_then(|n| n.word(&MODES)).unwrap_or_default(),
        named,
        period,
        lead,
        cpu_percent: get("cpu").and_then(|n| n.percent()).unwrap_or(default.cpu_percent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check;

    #[test]
    fn accounts_have_the_mode_of_the_list_that_names_them() {
        let text = "[forecast]\nmode = \"forecast-only\"\non = [\"b\", \"a\"]\noff = [\"c\"]\n";
        let read = check(text, "t").unwrap().policy.forecast;
        let of = |name: &str| read.mode(name);
        assert_eq!((of("a"), of("b")), (ForecastMode::On, ForecastMode::On));
        assert_eq!((of("c"), of("d")), (ForecastMode::Off, ForecastMode::ForecastOnly));
        assert!(!read.is_off() && ForecastPolicy::default().is_off());
        for wrong in
            ["on = [\"a\"]\noff = [\"a\"]", "period = \"7m\"", "lead = \"10m\"", "mode = \"so\""]
        {
            assert!(check(&format!("[forecast]\n{wrong}\n"), "t").is_err(), "{wrong}");
        }
    }
}
