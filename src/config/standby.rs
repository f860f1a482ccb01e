//! `[network.standby]`: standbys that hold the same addresses as their actives.

/// `network.standby.on_failure`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// It is said, and nothing is done.
    #[default]
    Alert,
    /// The standby takes over.
    Switch,
}

impl OnFailure {
    /// The word that is written and that people read.
    pub fn as_str(self) -> &'static str {
        match self {
            OnFailure::Alert => "alert",
            OnFailure::Switch => "switch",
        }
    }

    /// From [`OnFailure::as_str`].
    pub fn parse(word: &str) -> Option<OnFailure> {
        [OnFailure::Alert, OnFailure::Switch].into_iter().find(|of| of.as_str() == word)
    }
}
