//! `docs/config.md` is made from the configuration's JSON Schema. `UPDATE_DOCS=1 cargo test config_docs` writes it.

use std::collections::VecDeque;
use std::fmt::Write as _;

use serde_json::Value;

const HEAD: &str = "\
<!-- Made from the doc comments in src/config/mod.rs: UPDATE_DOCS=1 cargo test config_docs -->
# Configuration

One YAML file, all of it optional: in a cluster nothing needs to be written. Unknown keys and bad values are
refused with file, line and what is allowed. `knotmeter config schema` prints the JSON Schema for editors.

A **Duration** is written with its units: `500ms`, `30s`, `1h30m`, `14d`.
";

#[test]
fn the_page_says_what_the_schema_says() {
    let page = render(&knotmeter::config::schema());
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/config.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(file, &page).expect("docs/config.md is writable");
    }
    let written = std::fs::read_to_string(file).unwrap_or_default();
    assert!(written == page, "docs/config.md is stale: run UPDATE_DOCS=1 cargo test config_docs");
}

/// One section per kind of object, in the order in which a reader meets them.
fn render(schema: &Value) -> String {
    let mut page = HEAD.to_owned();
    let mut waiting = VecDeque::from([("The file".to_owned(), schema.clone())]);
    let mut seen = Vec::new();
    while let Some((name, section)) = waiting.pop_front() {
        let forms = section["oneOf"].as_array().cloned().unwrap_or_default();
        let keyed =
            section["properties"].is_object() || forms.iter().any(|form| form["properties"].is_object());
        if !keyed || seen.contains(&name) {
            continue;
        }
        write!(page, "\n## {name}\n\n{}\n", described(&section, &name)).expect("a string grows");
        if forms.is_empty() {
            table(&mut page, &name, &section);
        } else {
            for form in &forms {
                form_line(&mut page, &name, form);
            }
        }
        seen.push(name);
        for reference in references(&section) {
            waiting.push_back((reference.clone(), schema["$defs"][&reference].clone()));
        }
    }
    page
}

fn table(page: &mut String, name: &str, section: &Value) {
    page.push_str("\n| key | value | default | meaning |\n|---|---|---|---|\n");
    let required: Vec<&str> =
        section["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (key, property) in section["properties"].as_object().expect("an object has keys") {
        let default = match &property["default"] {
            _ if required.contains(&key.as_str()) => "required".to_owned(),
            Value::String(text) => format!("`{text}`"),
            Value::Bool(value) => format!("`{value}`"),
            Value::Array(items) if !items.is_empty() => format!("`{}`", property["default"]),
            _ => String::new(),
        };
        let meaning = described(property, &format!("{name}.{key}"));
        writeln!(page, "| `{key}` | {} | {default} | {meaning} |", form(property)).expect("a string grows");
    }
}

/// One of several forms: words, or a key with its own keys.
fn form_line(page: &mut String, name: &str, form: &Value) {
    if let Some(words) = form["enum"].as_array() {
        let words: Vec<String> =
            words.iter().filter_map(Value::as_str).map(|word| format!("`{word}`")).collect();
        writeln!(page, "\n- {}", words.join(" or ")).expect("a string grows");
    }
    for (key, property) in form["properties"].as_object().into_iter().flatten() {
        let meaning = described(form, &format!("{name}.{key}"));
        let inner: Vec<String> = property["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(inner, value)| {
                format!("`{inner}`: {}", described(value, &format!("{name}.{key}.{inner}")))
            })
            .collect();
        let inner = if inner.is_empty() { String::new() } else { format!(" Keys: {}", inner.join(" ")) };
        writeln!(page, "\n- `{key}`: {meaning}{inner}").expect("a string grows");
    }
}

fn described(value: &Value, what: &str) -> String {
    let text = value["description"].as_str().unwrap_or_else(|| {
        panic!("{what} has no description: write a doc comment on it in src/config/mod.rs")
    });
    text.replace('\n', " ").replace('|', "\\|")
}

/// How a value is written, in a word or two.
fn form(property: &Value) -> String {
    if let Some(reference) = references(property).first().filter(|_| property["items"].is_null()) {
        return named(reference);
    }
    let types = match &property["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).find(|name| *name != "null"),
        other => other.as_str(),
    };
    match types {
        Some("array") => format!("list of {}", form(&property["items"])),
        Some("string") => "text".into(),
        Some("boolean") => "`true` or `false`".into(),
        Some(other) => other.into(),
        None => String::new(),
    }
}

fn named(reference: &str) -> String {
    match reference {
        "Duration" => "Duration".into(),
        "Listen" => "address:port".into(),
        "Glob" => "pattern such as `team/*`".into(),
        "Marker" => "regular expression".into(),
        other => format!("[{other}](#{})", other.to_lowercase()),
    }
}

/// Names of the definitions that a schema mentions, in its own order.
fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(key, _)| *key != "$defs")
            .flat_map(|(key, inner)| match (key.as_str(), inner.as_str()) {
                ("$ref", Some(path)) => vec![path.trim_start_matches("#/$defs/").to_owned()],
                _ => references(inner),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}
