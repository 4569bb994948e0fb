//! What Helm makes of a chart and of values. Of its language only what the demo's charts need is read: a value, or a word
//! of the release, in double braces. Pure functions.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::storage::Files;

/// `{{ .Values.image.tag }}`
static PLACE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\{\{-?\s*\.(?P<path>(?:Values|Release)(?:\.\w+)+)\s*-?\}\}").expect("the pattern is valid")
});

/// A chart's own words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct About {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) app_version: String,
}

/// What a chart says of itself.
pub(super) fn about(files: &Files) -> Option<About> {
    let (_, text) = files.iter().find(|(name, _)| name.ends_with("/Chart.yaml"))?;
    let about: Value = serde_saphyr::from_str(text).ok()?;
    let word = |key: &str| about[key].as_str().unwrap_or_default().to_owned();
    Some(About { name: word("name"), version: word("version"), app_version: word("appVersion") })
}

/// The objects that a release consists of; the error is Helm's message.
pub(super) fn render(
    files: &Files,
    values: &Value,
    name: &str,
    namespace: &str,
) -> Result<Vec<Value>, String> {
    let defaults = files.iter().find(|(file, _)| file.ends_with("/values.yaml"));
    let defaults = defaults.map(|(_, text)| serde_saphyr::from_str::<Value>(text));
    let mut all = serde_json::json!({
        "Values": defaults.and_then(Result::ok).unwrap_or_default(),
        "Release": {"Name": name, "Namespace": namespace},
    });
    merge(&mut all["Values"], values);
    let mut objects = Vec::new();
    for (file, text) in files.iter().filter(|(file, _)| file.contains("/templates/")) {
        let mut missing = None;
        let filled = PLACE.replace_all(text, |found: &regex::Captures<'_>| {
            let pointer = format!("/{}", found["path"].replace('.', "/"));
            match all.pointer(&pointer) {
                Some(Value::String(text)) => text.clone(),
                Some(value) if !value.is_null() => value.to_string(),
                _ => {
                    missing.get_or_insert_with(|| found["path"].to_owned());
                    String::new()
                }
            }
        });
        if let Some(missing) = missing {
            return Err(format!("execution error at ({file}): no value for .{missing}"));
        }
        let documents: Vec<Value> = serde_saphyr::from_multiple(&filled)
            .map_err(|error| format!("YAML parse error on {file}: error converting YAML to JSON: {error}"))?;
        objects.extend(documents.into_iter().filter(Value::is_object));
    }
    Ok(objects)
}

/// What the release says wins, key by key.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn files() -> Files {
        [
            ("cart/Chart.yaml", "{name: cart, version: 0.1.0, appVersion: '1'}"),
            ("cart/values.yaml", "image: {repository: r/cart, tag: ''}\nreplicas: 1\n"),
            (
                "cart/templates/a.yaml",
                "kind: Deployment\nmetadata: {name: {{ .Release.Name }}}\nspec:\n  replicas: {{.Values.replicas}}\n  image: '{{ .Values.image.repository }}:{{ .Values.image.tag }}'\n",
            ),
        ]
        .map(|(name, text)| (name.to_owned(), text.to_owned()))
        .into()
    }

    #[test]
    fn values_fill_the_templates_and_the_release_s_own_win() {
        let made = render(&files(), &json!({"image": {"tag": "v1"}, "replicas": 3}), "cart", "prod").unwrap();
        assert_eq!(
            made,
            [json!({"kind": "Deployment", "metadata": {"name": "cart"},
            "spec": {"replicas": 3, "image": "r/cart:v1"}})]
        );
        assert_eq!(about(&files()).unwrap().version, "0.1.0");
    }

    #[test]
    fn what_cannot_be_rendered_says_where() {
        let said = render(&files(), &json!({"replicas": null}), "cart", "prod").unwrap_err();
        assert_eq!(said, "execution error at (cart/templates/a.yaml): no value for .Values.replicas");
        let broken = render(&files(), &json!({"replicas": "[", "image": {"tag": "v1"}}), "cart", "prod");
        assert!(broken.unwrap_err().starts_with("YAML parse error on cart/templates/a.yaml: "));
    }
}
