//! What the API's document says of a value, held against the value as it is read: whoever sends
//! something else hears of the field, what was found and what is expected.
//!
//! A body is checked while it is read, without making anything of it first: one of many small
//! values, or of one very deep one, costs nothing but its bytes.

use std::collections::BTreeMap;
use std::fmt;

use regex_lite::Regex;
use serde::de::DeserializeSeed;
use serde_json::Value;

use super::view::FieldView;

mod check;

use check::{Check, Findings};

/// Characters of what was found that are quoted.
const FOUND_CHARS_MAX: usize = 60;

/// The named schemas of a document.
#[derive(Debug, Default)]
pub(super) struct Rules(BTreeMap<Box<str>, Rule>);

/// One schema.
#[derive(Debug)]
pub(super) struct Rule {
    nullable: bool,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Nothing is said here, or more than is understood here: the reader of the value decides.
    Any,
    Named(Box<str>),
    Text(Text),
    Integer {
        min: i128,
        max: i128,
    },
    Number {
        min: f64,
        max: f64,
    },
    Boolean,
    List {
        items: Box<Rule>,
        min: usize,
        max: usize,
    },
    Object(Object),
}

#[derive(Debug)]
struct Text {
    min: usize,
    max: usize,
    pattern: Option<Regex>,
    words: Vec<Box<str>>,
}

#[derive(Debug)]
struct Object {
    fields: BTreeMap<Box<str>, Rule>,
    required: Vec<Box<str>>,
    /// What other fields are; `None` where there may be none.
    others: Option<Box<Rule>>,
    max: usize,
}

impl Rules {
    /// `components.schemas` of a document.
    pub(super) fn of(document: &Value) -> Rules {
        let schemas = document.pointer("/components/schemas").and_then(Value::as_object);
        let named = schemas.into_iter().flatten();
        Rules(named.map(|(name, schema)| (name.as_str().into(), Rule::of(schema))).collect())
    }

    /// What a rule says in the end, and whether it takes null.
    fn resolve<'r>(&'r self, mut rule: &'r Rule) -> (&'r Kind, bool) {
        let mut nullable = rule.nullable;
        // A bound on names of names.
        for _ in 0..16 {
            let Kind::Named(name) = &rule.kind else { break };
            let Some(found) = self.0.get(name) else { return (&Kind::Any, nullable) };
            rule = found;
            nullable |= rule.nullable;
        }
        (&rule.kind, nullable)
    }

    /// Reads one value of `input` and says what is wrong with it; an error if it is no value.
    pub(super) fn check_body(
        &self,
        rule: &Rule,
        body: &[u8],
    ) -> Result<Vec<FieldView>, serde_json::Error> {
        let mut found = Findings::default();
        let mut json = serde_json::Deserializer::from_slice(body);
        Check { rules: self, rule, found: &mut found }.deserialize(&mut json)?;
        json.end()?;
        Ok(found.faults)
    }

    /// A value that passed its rule, as its reader wants it: whole numbers without a point.
    pub(super) fn plain(&self, rule: &Rule, value: Value) -> Value {
        let (kind, _) = self.resolve(rule);
        match (kind, value) {
            (Kind::Integer { .. }, Value::Number(number)) => {
                let whole = number.as_f64().filter(|_| number.is_f64());
                whole.and_then(|it| whole_number(it, kind)).unwrap_or(Value::Number(number))
            }
            (Kind::List { items, .. }, Value::Array(list)) => {
                list.into_iter().map(|one| self.plain(items, one)).collect()
            }
            (Kind::Object(object), Value::Object(map)) => {
                let plain = |(name, value): (String, Value)| {
                    let rule = object.fields.get(&*name).or(object.others.as_deref());
                    let value = match rule {
                        Some(rule) => self.plain(rule, value),
                        None => value,
                    };
                    (name, value)
                };
                Value::Object(map.into_iter().map(plain).collect())
            }
            (_, value) => value,
        }
    }

    /// A parameter's text as the value that it stands for. On error: what was found, and what is
    /// expected.
    pub(super) fn parameter(&self, rule: &Rule, text: &str) -> Result<Value, String> {
        let (kind, _) = self.resolve(rule);
        let fault = || found_instead(&quoted(text), kind);
        match kind {
            Kind::Integer { min, max } => match text.parse::<i128>() {
                Ok(number) if (*min..=*max).contains(&number) => u64::try_from(number)
                    .map(Value::from)
                    .or_else(|_| i64::try_from(number).map(Value::from).map_err(|_| fault())),
                _ => Err(fault()),
            },
            Kind::Number { min, max } => match text.parse::<f64>() {
                Ok(number) if (*min..=*max).contains(&number) => Ok(Value::from(number)),
                _ => Err(fault()),
            },
            Kind::Boolean => text.parse::<bool>().map(Value::from).map_err(|_| fault()),
            Kind::Text(rule) if !rule.takes(text) => Err(fault()),
            _ => Ok(Value::from(text)),
        }
    }
}

impl Rule {
    pub(super) fn of(schema: &Value) -> Rule {
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            let name = name.rsplit('/').next().unwrap_or_default();
            return Rule { nullable: false, kind: Kind::Named(name.into()) };
        }
        for several in ["oneOf", "anyOf", "allOf"] {
            if let Some(choices) = schema.get(several).and_then(Value::as_array) {
                return Rule::among(choices);
            }
        }
        let types: Vec<&str> = match schema.get("type") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(some)) => some.iter().filter_map(Value::as_str).collect(),
            _ => vec![],
        };
        let nullable = types.contains(&"null");
        let mut named = types.iter().filter(|name| **name != "null");
        let kind = match (named.next(), named.next()) {
            (Some(name), None) => Kind::of(name, schema),
            _ => Kind::Any,
        };
        Rule { nullable, kind }
    }

    /// One of several; only null and something else is understood.
    fn among(choices: &[Value]) -> Rule {
        let is_null = |choice: &&Value| choice.get("type").is_some_and(|kind| kind == "null");
        let nullable = choices.iter().any(|choice| is_null(&choice));
        let mut others = choices.iter().filter(|choice| !is_null(choice));
        match (others.next(), others.next()) {
            (Some(one), None) => {
                let rule = Rule::of(one);
                Rule { nullable: nullable || rule.nullable, ..rule }
            }
            _ => Rule { nullable: true, kind: Kind::Any },
        }
    }
}

impl Kind {
    fn of(name: &str, schema: &Value) -> Kind {
        let count = |key: &str, default: usize| {
            let number = schema.get(key).and_then(Value::as_u64);
            number.and_then(|n| usize::try_from(n).ok()).unwrap_or(default)
        };
        let limit = |key: &str| schema.get(key).and_then(Value::as_f64);
        match name {
            "string" => Kind::Text(Text {
                min: count("minLength", 0),
                max: count("maxLength", usize::MAX),
                pattern: pattern(schema),
                words: words(schema),
            }),
            "integer" => Kind::Integer {
                min: whole(schema, "minimum").unwrap_or(i64::MIN.into()),
                max: whole(schema, "maximum").unwrap_or(u64::MAX.into()),
            },
            "number" => Kind::Number {
                min: limit("minimum").unwrap_or(f64::MIN),
                max: limit("maximum").unwrap_or(f64::MAX),
            },
            "boolean" => Kind::Boolean,
            "array" => Kind::List {
                items: Box::new(schema.get("items").map_or_else(Rule::any, Rule::of)),
                min: count("minItems", 0),
                max: count("maxItems", usize::MAX),
            },
            "object" => Kind::Object(Object::of(schema, count("maxProperties", usize::MAX))),
            _ => Kind::Any,
        }
    }
}

impl Rule {
    fn any() -> Rule {
        Rule { nullable: true, kind: Kind::Any }
    }
}

impl Object {
    fn of(schema: &Value, max: usize) -> Object {
        let properties = schema.get("properties").and_then(Value::as_object);
        let fields = properties.into_iter().flatten();
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        let others = match schema.get("additionalProperties") {
            Some(Value::Bool(false)) => None,
            Some(other @ Value::Object(_)) => Some(Box::new(Rule::of(other))),
            _ => Some(Box::new(Rule::any())),
        };
        Object {
            fields: fields.map(|(name, rule)| (name.as_str().into(), Rule::of(rule))).collect(),
            required: required.filter_map(|name| Some(name.as_str()?.into())).collect(),
            others,
            max,
        }
    }
}

fn pattern(schema: &Value) -> Option<Regex> {
    Regex::new(schema.get("pattern")?.as_str()?).ok()
}

fn words(schema: &Value) -> Vec<Box<str>> {
    let words = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    words.filter_map(|word| Some(word.as_str()?.into())).collect()
}

fn whole(schema: &Value, key: &str) -> Option<i128> {
    let number = schema.get(key)?;
    let exact = number.as_i64().map(i128::from).or(number.as_u64().map(i128::from));
    // The document's own limits are small: nothing is lost in a float.
    exact.or(number.as_f64().map(|float| float as i128))
}

impl Text {
    fn takes(&self, text: &str) -> bool {
        // Bytes are at least as many as characters: most texts need no counting.
        let fits = text.len() <= self.max || text.chars().count() <= self.max;
        fits && (self.min == 0 || text.chars().nth(self.min - 1).is_some())
            && self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(text))
            && (self.words.is_empty() || self.words.iter().any(|word| **word == *text))
    }
}

/// What is expected.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Any | Kind::Named(_) => f.write_str("another value"),
            Kind::Text(Text { words, .. }) if !words.is_empty() => {
                write!(f, "one of {}", words.join(", "))
            }
            Kind::Text(Text { min, max, pattern, .. }) => {
                f.write_str("a text")?;
                match (*min, *max) {
                    (_, usize::MAX) => {}
                    (0, max) => write!(f, " of at most {max} characters")?,
                    (min, max) => write!(f, " of {min} to {max} characters")?,
                }
                pattern.as_ref().map_or(Ok(()), |it| write!(f, " that matches {}", it.as_str()))
            }
            Kind::Integer { min, max } => write!(f, "a whole number from {min} to {max}"),
            Kind::Number { min, max } if *min == f64::MIN && *max == f64::MAX => {
                f.write_str("a number")
            }
            Kind::Number { min, max } => write!(f, "a number from {min} to {max}"),
            Kind::Boolean => f.write_str("true or false"),
            Kind::List { min, max, .. } if *max < usize::MAX => {
                write!(f, "a list of {min} to {max} entries")
            }
            Kind::List { .. } => f.write_str("a list"),
            Kind::Object(Object { max, .. }) if *max < usize::MAX => {
                write!(f, "an object of at most {max} fields")
            }
            Kind::Object(_) => f.write_str("an object"),
        }
    }
}

/// A number with nothing behind its point, if it is within the bounds of its kind.
fn whole_number(value: f64, kind: &Kind) -> Option<Value> {
    let Kind::Integer { min, max } = kind else { return None };
    // Beyond this a float says no exact number.
    let is_exact = value.fract() == 0.0 && value.abs() < 9e15;
    let number = is_exact.then_some(value as i64)?;
    (*min..=*max).contains(&i128::from(number)).then(|| Value::from(number))
}

fn found_instead(found: &str, kind: &Kind) -> String {
    format!("found {found}, want {kind}")
}

/// The beginning of a text, as a literal.
pub(super) fn quoted(text: &str) -> String {
    let start: String = text.chars().take(FOUND_CHARS_MAX).collect();
    let rest = if start.len() < text.len() { ".." } else { "" };
    format!("{start:?}{rest}")
}

#[cfg(test)]
#[path = "schema/tests.rs"]
mod tests;
