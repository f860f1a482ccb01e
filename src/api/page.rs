//! Lists in pages: how long one may be, and where the next begins.

use serde::Deserialize;
use utoipa::IntoParams;

/// Longest page.
pub const LIMIT_MAX: usize = 1000;
/// A page that nobody gave a length.
pub const LIMIT_DEFAULT: usize = 100;

/// `limit` and `cursor` of a list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Entries of this page at most.
    #[param(minimum = 1, maximum = 1000, required = false)]
    limit: Option<u32>,
    /// Where it begins: `next` of the page before it.
    #[param(pattern = "^[0-9a-f]{1,16}$", required = false)]
    cursor: Option<String>,
}

impl PageQuery {
    /// Entries of this page at most.
    pub fn limit(&self) -> usize {
        let limit = self.limit.and_then(|limit| usize::try_from(limit).ok());
        limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX)
    }

    /// The position where it begins; 0 for the first page.
    pub fn position(&self) -> u64 {
        // The pattern lets nothing else through.
        let position = self.cursor.as_ref().map(|text| u64::from_str_radix(text, 16));
        position.and_then(Result::ok).unwrap_or(0)
    }

    /// One page of a list that is in memory, and the cursor of the next.
    pub fn cut<T>(&self, list: impl IntoIterator<Item = T>) -> (Vec<T>, Option<String>) {
        let from = self.position();
        let skip = usize::try_from(from).unwrap_or(usize::MAX);
        let mut rest = list.into_iter().skip(skip);
        let page: Vec<T> = rest.by_ref().take(self.limit()).collect();
        let next = rest.next().map(|_| cursor(from.saturating_add(page.len() as u64)));
        (page, next)
    }
}

/// The text of a position.
pub fn cursor(position: u64) -> String {
    format!("{position:x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_hold_everything_once() {
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let query = PageQuery { limit: Some(3), cursor };
            let (page, next) = query.cut(0..10);
            seen.extend(page);
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
        let beyond = PageQuery { limit: None, cursor: Some("ffffffffffffffff".into()) };
        assert_eq!(beyond.cut(0..10), (vec![], None));
    }
}
