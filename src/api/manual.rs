//! The document as a page that people read: one file, no script, nothing to load.

use std::fmt::Write;

use serde_json::Value;

const STYLE: &str = "\
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;\
color:#222;background:#fff}code,pre{font-family:ui-monospace,monospace;font-size:.9em}\
table{border-collapse:collapse;width:100%;margin:.5rem 0}td,th{border-bottom:1px solid #ccc;\
padding:.25rem .5rem;text-align:left;vertical-align:top}h3{margin-top:2rem}\
.method{font-weight:bold}.role{float:right;font-weight:normal;font-size:.9rem}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}a{color:#8bf}\
td,th{border-color:#444}}";

/// The whole page.
pub(super) fn manual(document: &Value) -> String {
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or("");
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <title>foreshadow API</title><style>{STYLE}</style></head><body>\n\
         <h1>foreshadow {} API</h1>\n<p>{}</p>\n\
         <p><a href=\"openapi.json\">openapi.json</a></p>\n",
        escape(text("/info/version")),
        prose(text("/info/description")),
    );
    let paths = document.get("paths").and_then(Value::as_object);
    let all = paths.into_iter().flatten().flat_map(|(path, item)| {
        let methods = item.as_object().into_iter().flatten();
        methods.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    });
    let tag = |operation: &Value| {
        operation.pointer("/tags/0").and_then(Value::as_str).unwrap_or("other").to_owned()
    };
    let mut tags: Vec<String> = all.clone().map(|(_, _, operation)| tag(operation)).collect();
    tags.sort();
    tags.dedup();
    for name in tags {
        // Writing to a string cannot fail.
        let _ = writeln!(page, "<h2>{}</h2>", escape(&name));
        for (path, method, operation) in all.clone().filter(|(_, _, it)| tag(it) == name) {
            page += &section(path, method, operation);
        }
    }
    page += "<h2>Schemas</h2>\n";
    let schemas = document.pointer("/components/schemas").and_then(Value::as_object);
    for (name, schema) in schemas.into_iter().flatten() {
        page += &schema_section(name, schema);
    }
    page + "</body></html>\n"
}

fn section(path: &str, method: &str, operation: &Value) -> String {
    let role = operation.pointer("/security/0/bearer/0").and_then(Value::as_str);
    let role = role.map_or("anybody".into(), |role| format!("role {}", escape(role)));
    let words = ["summary", "description"].iter().filter_map(|key| operation.get(key)?.as_str());
    let mut out = format!(
        "<h3><span class=\"method\">{}</span> <code>{}</code> <span class=\"role\">{role}</span>\
         </h3>\n<p>{}</p>\n",
        escape(&method.to_uppercase()),
        escape(path),
        prose(&words.collect::<Vec<_>>().join(" ")),
    );
    let rows = operation.get("parameters").and_then(Value::as_array).into_iter().flatten();
    let rows = rows.map(|parameter| {
        let get = |key: &str| parameter.get(key).and_then(Value::as_str).unwrap_or("");
        let schema = parameter.get("schema").map(kind).unwrap_or_default();
        [code(get("name")), get("in").to_owned(), schema, prose(get("description"))]
    });
    out += &table(["parameter", "in", "value", ""], rows);
    if let Some(body) = operation.pointer("/requestBody/content") {
        let _ = writeln!(out, "<p>Body: {}</p>", contents(body));
    }
    let responses = operation.get("responses").and_then(Value::as_object).into_iter().flatten();
    let rows = responses.map(|(status, response)| {
        let about = response.get("description").and_then(Value::as_str).unwrap_or("");
        let body = response.get("content").map(contents).unwrap_or_default();
        [code(status), prose(about), body]
    });
    out + &table(["status", "", "body"], rows)
}

fn schema_section(name: &str, schema: &Value) -> String {
    let about = schema.get("description").and_then(Value::as_str).unwrap_or("");
    let mut out = format!("<h3 id=\"{0}\">{0}</h3>\n<p>{1}</p>\n", escape(name), prose(about),);
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let Some(fields) = schema.get("properties").and_then(Value::as_object) else {
        let _ = writeln!(out, "<p>{}</p>", kind(schema));
        return out;
    };
    let rows = fields.iter().map(|(field, schema)| {
        let must = if required.contains(&field.as_str()) { " (always)" } else { "" };
        let about = schema.get("description").and_then(Value::as_str).unwrap_or("");
        [code(field) + must, kind(schema), prose(about)]
    });
    out += &table(["field", "value", ""], rows);
    out
}

fn table<const N: usize>(header: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut body = String::new();
    for row in rows {
        let cells: String = row.iter().map(|cell| format!("<td>{cell}</td>")).collect();
        let _ = writeln!(body, "<tr>{cells}</tr>");
    }
    if body.is_empty() {
        return body;
    }
    let header: String = header.iter().map(|cell| format!("<th>{cell}</th>")).collect();
    format!("<table><tr>{header}</tr>\n{body}</table>\n")
}

/// `application/json: LeasesView`.
fn contents(contents: &Value) -> String {
    let kinds = contents.as_object().into_iter().flatten().map(|(media, content)| {
        let schema = content.get("schema").map(kind).unwrap_or_default();
        format!("{}: {schema}", code(media))
    });
    kinds.collect::<Vec<_>>().join(", ")
}

/// A schema in a few words.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        let name = escape(name.rsplit('/').next().unwrap_or_default());
        return format!("<a href=\"#{name}\">{name}</a>");
    }
    for several in ["oneOf", "anyOf", "allOf"] {
        if let Some(choices) = schema.get(several).and_then(Value::as_array) {
            return choices.iter().map(kind).collect::<Vec<_>>().join(" or ");
        }
    }
    let mut out = match schema.get("type") {
        Some(Value::String(one)) => escape(one),
        Some(Value::Array(some)) => {
            some.iter().filter_map(Value::as_str).map(escape).collect::<Vec<_>>().join(" or ")
        }
        _ => "anything".into(),
    };
    if let Some(items) = schema.get("items") {
        let _ = write!(out, " of {}", kind(items));
    }
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        let words = words.iter().filter_map(Value::as_str).map(code);
        let _ = write!(out, ": {}", words.collect::<Vec<_>>().join(", "));
    }
    for (key, word) in [
        ("minimum", "from"),
        ("maximum", "to"),
        ("minLength", "at least"),
        ("maxLength", "up to"),
        ("maxItems", "at most"),
    ] {
        if let Some(limit) = schema.get(key) {
            let _ = write!(out, " {word} {limit}");
        }
    }
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
        let _ = write!(out, " {}", code(pattern));
    }
    out
}

fn code(text: &str) -> String {
    format!("<code>{}</code>", escape(text))
}

/// Text with code between backticks.
fn prose(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts.map(|(n, part)| if n % 2 == 1 { code(part) } else { escape(part) }).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::routes::described;

    #[test]
    fn the_page_has_every_operation_and_loads_nothing() {
        let document = described();
        let page = manual(&document);
        for path in document["paths"].as_object().unwrap().keys() {
            assert!(page.contains(&code(path)), "{path}");
        }
        for schema in document["components"]["schemas"].as_object().unwrap().keys() {
            assert!(page.contains(&format!("id=\"{schema}\"")), "{schema}");
        }
        for foreign in ["<script", "src=", "http://", "https://", "@import"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }

    #[test]
    fn text_stays_text() {
        assert_eq!(prose("a `<b>` & c"), "a <code>&lt;b&gt;</code> &amp; c");
    }
}
