//! Label and field selectors, as list, watch and workloads use them.

use serde_json::Value;

/// What a request selects. Nothing given selects everything.
#[derive(Debug, Clone, Default)]
pub(super) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<Requirement>,
}

#[derive(Debug, Clone)]
struct Requirement {
    key: String,
    wants: Wants,
}

#[derive(Debug, Clone)]
enum Wants {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

impl Selector {
    /// Parses `labelSelector` and `fieldSelector`; the error is the part that is not understood.
    pub(super) fn parse(labels: &str, fields: &str) -> Result<Self, String> {
        Ok(Self { labels: requirements(labels)?, fields: requirements(fields)? })
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.labels.iter().all(|one| one.holds(labels[&one.key].as_str()))
            && self.fields.iter().all(|one| {
                let field = one.key.split('.').fold(object, |value, step| &value[step]);
                // An unset field compares as the empty text, as in the API server.
                one.holds(Some(field.as_str().unwrap_or_default()))
            })
    }
}

/// Whether a workload's `spec.selector` takes an object with these labels.
pub(super) fn selects(selector: &Value, labels: &Value) -> bool {
    let wanted = selector["matchLabels"].as_object();
    wanted.is_some_and(|wanted| wanted.iter().all(|(key, value)| labels[key] == *value))
}

impl Requirement {
    fn holds(&self, value: Option<&str>) -> bool {
        match &self.wants {
            Wants::In(values) => value.is_some_and(|value| values.iter().any(|one| one == value)),
            Wants::NotIn(values) => value.is_none_or(|value| values.iter().all(|one| one != value)),
            Wants::Exists => value.is_some(),
            Wants::Absent => value.is_none(),
        }
    }
}

fn requirements(text: &str) -> Result<Vec<Requirement>, String> {
    // Commas inside parentheses separate values, not requirements.
    let mut parts = vec![String::new()];
    let mut inside = false;
    for character in text.chars() {
        inside = character == '(' || inside && character != ')';
        if character == ',' && !inside {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(character);
        }
    }
    parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty()).map(requirement).collect()
}

fn requirement(text: &str) -> Result<Requirement, String> {
    let one = |value: &str| vec![value.trim().to_owned()];
    let set = |value: &str| -> Result<Vec<String>, String> {
        let inner = value.trim().strip_prefix('(').and_then(|value| value.strip_suffix(')'));
        let inner = inner.ok_or_else(|| text.to_owned())?;
        Ok(inner.split(',').map(|value| value.trim().to_owned()).collect())
    };
    let (key, wants) = if let Some((key, value)) = text.split_once("!=") {
        (key, Wants::NotIn(one(value)))
    } else if let Some((key, value)) = text.split_once("==") {
        (key, Wants::In(one(value)))
    } else if let Some((key, value)) = text.split_once('=') {
        (key, Wants::In(one(value)))
    } else if let Some((key, values)) = text.split_once(" notin ") {
        (key, Wants::NotIn(set(values)?))
    } else if let Some((key, values)) = text.split_once(" in ") {
        (key, Wants::In(set(values)?))
    } else if let Some(key) = text.strip_prefix('!') {
        (key, Wants::Absent)
    } else if text.contains([' ', '(', ')']) {
        return Err(text.to_owned());
    } else {
        (text, Wants::Exists)
    };
    Ok(Requirement { key: key.trim().to_owned(), wants })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_select_as_the_api_server_does() {
        let pod =
            json!({"metadata": {"name": "web-1", "labels": {"app": "web"}}, "status": {"phase": "Running"}});
        let takes = |labels: &str, fields: &str| Selector::parse(labels, fields).unwrap().matches(&pod);
        assert!(takes("", ""));
        assert!(takes("app=web", "metadata.name=web-1"));
        assert!(takes("app in (api, web),!gone", "status.phase!=Failed"));
        assert!(!takes("app notin (web)", ""));
        assert!(takes("track!=canary", "spec.nodeName="));
        assert!(!takes("track", ""));
        assert!(Selector::parse("a b c", "").is_err());
    }
}
