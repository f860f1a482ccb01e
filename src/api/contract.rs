//! What the API's document promises, as the server goes by it: which role each operation needs,
//! and what its parameters and its body may be. What is not in the document is not served.

use std::collections::HashMap;

use axum::http::Method;
use serde_json::Value;

use super::caller::Role;
use super::schema::{Rule, Rules};

/// The scheme whose list of roles says what an operation needs (OpenAPI 3.1, s4.8.30.1).
pub(super) const SCHEME: &str = "bearer";

/// Every operation of the document.
#[derive(Debug)]
pub(super) struct Contract {
    pub(super) rules: Rules,
    operations: HashMap<String, Vec<(Method, Operation)>>,
}

/// One method on one path.
#[derive(Debug)]
pub(super) struct Operation {
    /// What a caller must be; `None` where anybody may ask.
    pub(super) role: Option<Role>,
    pub(super) parameters: Vec<Parameter>,
    /// The schema of a JSON body, and whether there must be one.
    pub(super) body: Option<(Rule, bool)>,
}

/// One parameter.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: Box<str>,
    pub(super) place: Place,
    pub(super) required: bool,
    pub(super) rule: Rule,
}

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Path,
    Query,
    Header,
}

impl Contract {
    /// What `document` promises.
    pub(super) fn of(document: &Value) -> Contract {
        let paths = document.get("paths").and_then(Value::as_object).into_iter().flatten();
        let operations = paths.map(|(path, item)| {
            let methods = item.as_object().into_iter().flatten();
            let found = methods.filter_map(|(name, operation)| {
                let method = Method::from_bytes(name.to_uppercase().as_bytes()).ok()?;
                Some((method, Operation::of(operation)))
            });
            (path.clone(), found.collect())
        });
        Contract { rules: Rules::of(document), operations: operations.collect() }
    }

    /// The operation of a method on a path as the document writes it.
    pub(super) fn operation(&self, method: &Method, path: &str) -> Option<&Operation> {
        // What can be read can be asked about (RFC 9110 s9.3.2).
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        let of_path = self.operations.get(path)?;
        of_path.iter().find(|(known, _)| known == method).map(|(_, operation)| operation)
    }

    /// The methods of a path, for `Allow` (RFC 9110 s10.2.1).
    pub(super) fn methods(&self, path: &str) -> String {
        let of_path = self.operations.get(path).into_iter().flatten();
        let names: Vec<&str> = of_path.map(|(method, _)| method.as_str()).collect();
        names.join(", ")
    }
}

impl Operation {
    fn of(operation: &Value) -> Operation {
        let parameters = operation.get("parameters").and_then(Value::as_array);
        let schema = operation.pointer("/requestBody/content/application~1json/schema");
        let required = operation.pointer("/requestBody/required").is_some_and(|it| *it == true);
        Operation {
            role: role(operation),
            parameters: parameters.into_iter().flatten().filter_map(Parameter::of).collect(),
            body: schema.map(|schema| (Rule::of(schema), required)),
        }
    }
}

/// `security: [{"bearer": ["operate"]}]` is a role, `[{}]` none; whatever else is for admins.
fn role(operation: &Value) -> Option<Role> {
    let first = operation.pointer("/security/0").and_then(Value::as_object);
    if first.is_some_and(|schemes| schemes.is_empty()) {
        return None;
    }
    let named = first.and_then(|schemes| schemes.get(SCHEME)?.get(0)?.as_str());
    Some(named.and_then(Role::named).unwrap_or(Role::Admin))
}

impl Parameter {
    fn of(parameter: &Value) -> Option<Parameter> {
        let place = match parameter.get("in")?.as_str()? {
            "path" => Place::Path,
            "query" => Place::Query,
            "header" => Place::Header,
            _ => return None,
        };
        Some(Parameter {
            name: parameter.get("name")?.as_str()?.into(),
            place,
            required: parameter.get("required").is_some_and(|it| *it == true),
            rule: Rule::of(parameter.get("schema")?),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_says_no_role_is_for_admins() {
        assert_eq!(role(&json!({ "security": [{ "bearer": ["operate"] }] })), Some(Role::Operate));
        assert_eq!(role(&json!({ "security": [{}] })), None);
        for unclear in [
            json!({}),
            json!({ "security": [] }),
            json!({ "security": [{ "bearer": ["raed"] }] }),
            json!({ "security": [{ "other": ["read"] }] }),
        ] {
            assert_eq!(role(&unclear), Some(Role::Admin), "{unclear}");
        }
    }
}
