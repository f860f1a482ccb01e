//! Reads a value by its schema, without keeping anything of it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{FOUND_CHARS_MAX, Kind, Object, Rule, Rules, found_instead, quoted, whole_number};
use crate::api::problem::FIELDS_MAX;
use crate::api::view::FieldView;

/// What was found wrong, and where the reader is.
#[derive(Debug, Default)]
pub(super) struct Findings {
    path: String,
    pub(super) faults: Vec<FieldView>,
}

impl Findings {
    fn push(&mut self, detail: String) {
        if self.faults.len() < FIELDS_MAX {
            self.faults.push(FieldView { field: self.path.clone(), detail });
        }
    }

    /// Goes down one step; returns where to come back to.
    fn down(&mut self, step: impl fmt::Display) -> usize {
        use fmt::Write;
        let back = self.path.len();
        // Writing to a string cannot fail.
        let _ = write!(self.path, "{step}");
        back
    }

    fn back(&mut self, to: usize) {
        self.path.truncate(to);
    }
}

/// Reads one value.
pub(super) struct Check<'r, 'f> {
    pub(super) rules: &'r Rules,
    pub(super) rule: &'r Rule,
    pub(super) found: &'f mut Findings,
}

impl<'de> DeserializeSeed<'de> for Check<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Check<'_, '_> {
    fn expect<E>(self, good: impl FnOnce(&Kind) -> bool, found: &str) -> Result<(), E> {
        let (kind, _) = self.rules.resolve(self.rule);
        if !matches!(kind, Kind::Any) && !good(kind) {
            self.found.push(found_instead(found, kind));
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Check<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.rules.resolve(self.rule).0)
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.expect(|kind| matches!(kind, Kind::Boolean), &value.to_string())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        let fits = |kind: &Kind| match kind {
            Kind::Integer { min, max } => (*min..=*max).contains(&value.into()),
            Kind::Number { min, max } => (*min..=*max).contains(&(value as f64)),
            _ => false,
        };
        self.expect(fits, &value.to_string())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        let fits = |kind: &Kind| match kind {
            Kind::Integer { min, max } => (*min..=*max).contains(&value.into()),
            Kind::Number { min, max } => (*min..=*max).contains(&(value as f64)),
            _ => false,
        };
        self.expect(fits, &value.to_string())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        let fits = |kind: &Kind| match kind {
            Kind::Number { min, max } => (*min..=*max).contains(&value),
            // To JSON 5.0 is as whole as 5.
            Kind::Integer { .. } => whole_number(value, kind).is_some(),
            _ => false,
        };
        self.expect(fits, &value.to_string())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        let fits = |kind: &Kind| matches!(kind, Kind::Text(rule) if rule.takes(value));
        self.expect(fits, &quoted(value))
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        let (_, nullable) = self.rules.resolve(self.rule);
        self.expect(|_| nullable, "null")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Check { rules, rule, found } = self;
        let (kind, _) = rules.resolve(rule);
        let Kind::List { items, min, max } = kind else {
            if !matches!(kind, Kind::Any) {
                found.push(found_instead("a list", kind));
            }
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        let mut count = 0;
        loop {
            let back = found.down(format_args!("[{count}]"));
            // Beyond the most there may be, entries are counted and no more.
            let more = match count < *max {
                true => {
                    let check = Check { rules, rule: items, found: &mut *found };
                    seq.next_element_seed(check)?.is_some()
                }
                false => seq.next_element::<IgnoredAny>()?.is_some(),
            };
            found.back(back);
            if !more {
                break;
            }
            count += 1;
        }
        if !(*min..=*max).contains(&count) {
            found.push(found_instead(&format!("a list of {count}"), kind));
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Check { rules, rule, found } = self;
        let (kind, _) = rules.resolve(rule);
        let Kind::Object(object) = kind else {
            if !matches!(kind, Kind::Any) {
                found.push(found_instead("an object", kind));
            }
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        let mut missing: Vec<&Box<str>> = object.required.iter().collect();
        let mut count = 0;
        while let Some(name) = map.next_key::<String>()? {
            count += 1;
            missing.retain(|required| ***required != *name);
            let known = object.fields.get(&*name).or(object.others.as_deref());
            let dot = if found.path.is_empty() { "" } else { "." };
            let short: String = name.chars().take(FOUND_CHARS_MAX).collect();
            let back = found.down(format_args!("{dot}{short}"));
            match known.filter(|_| count <= object.max) {
                Some(rule) => map.next_value_seed(Check { rules, rule, found: &mut *found })?,
                None => {
                    if known.is_none() {
                        found.push(object.unknown(&name));
                    }
                    map.next_value::<IgnoredAny>()?;
                }
            }
            found.back(back);
        }
        if count > object.max {
            found.push(found_instead(&format!("an object of {count} fields"), kind));
        }
        for name in missing {
            let dot = if found.path.is_empty() { "" } else { "." };
            let back = found.down(format_args!("{dot}{name}"));
            let want = object.fields.get(name).map(|rule| rules.resolve(rule).0);
            let want = want.map_or(String::new(), |kind| format!(", want {kind}"));
            found.push(format!("is missing{want}"));
            found.back(back);
        }
        Ok(())
    }
}

impl Object {
    fn unknown(&self, name: &str) -> String {
        let known = self.fields.keys().map(|field| &**field);
        let near = known.clone().filter(|_| name.len() <= FOUND_CHARS_MAX);
        let near = near.map(|field| (strsim::damerau_levenshtein(field, name), field)).min();
        match near.filter(|(distance, field)| *distance <= 1 + field.len() / 4) {
            Some((_, field)) => format!("no such field; did you mean `{field}`?"),
            None => format!("no such field; want {}", known.collect::<Vec<_>>().join(", ")),
        }
    }
}
