//! A file to show: as it is written, without its secrets.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// Keys whose values are secrets, or lead to one, wherever they stand.
const SECRETS: &[&str] = &["hash", "secret", "password", "bearer_token"];

/// What stands where a secret stood.
const HIDDEN: &str = "\"(secret)\"";

/// `text`, which is TOML, without its secrets; nothing of it, if it is no TOML.
pub(super) fn hide(text: &str) -> String {
    let Ok(document) = DeTable::parse(text) else { return String::new() };
    let mut found = Vec::new();
    find(document.get_ref(), &mut found);
    found.sort_by_key(|span: &Range<usize>| span.start);
    let (mut shown, mut at) = (String::with_capacity(text.len()), 0);
    for span in found.into_iter() {
        shown.push_str(text.get(at..span.start).unwrap_or_default());
        shown.push_str(HIDDEN);
        at = span.end;
    }
    shown + text.get(at..).unwrap_or_default()
}

fn find(table: &DeTable<'_>, found: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        if SECRETS.contains(&&**key.get_ref()) {
            found.push(value.span());
            continue;
        }
        below(value.get_ref(), found);
    }
}

fn below(value: &DeValue<'_>, found: &mut Vec<Range<usize>>) {
    match value {
        DeValue::Table(table) => find(table, found),
        DeValue::Array(array) => array.iter().for_each(|one| below(one.get_ref(), found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_wherever_they_stand_and_nothing_else_is() {
        let text = "# hash = \"kept\"\n[api]\nkey = \"/k\"\n[[api.token]]\nname = 'a'\n\
                    hash = \"f00d\" # why\n[[x]]\ny = [{ secret = '''\na\nb''', z = 1 }]\n";
        let want = "# hash = \"kept\"\n[api]\nkey = \"/k\"\n[[api.token]]\nname = 'a'\n\
                    hash = \"(secret)\" # why\n[[x]]\ny = [{ secret = \"(secret)\", z = 1 }]\n";
        assert_eq!(hide(text), want);
        assert_eq!(hide("= "), "");
        assert_eq!(hide("a = 1\n"), "a = 1\n");
    }
}
