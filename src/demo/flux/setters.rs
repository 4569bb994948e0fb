//! The markers by which the automation finds what to edit: a comment behind a value, with a policy's name. Pure
//! functions over text.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;

/// What a policy has chosen: the image's name and the tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) name: String,
    pub(super) tag: String,
}

/// A value with its marker: the text before it, the value, the space between, the marker and its parts.
static MARKED: LazyLock<Regex> = LazyLock::new(|| {
    let marker =
        r#"#\s*\{\s*"\$imagepolicy"\s*:\s*"(?P<policy>[^":]+:[^":]+)(?::(?P<part>tag|name|digest))?"\s*\}"#;
    Regex::new(&format!(r##"^(?P<front>.*?[:\-]\s+)(?P<value>"[^"]*"|[^\s"#]+)(?P<space>\s+){marker}"##))
        .expect("the pattern is valid")
});

/// The text with every marked value as its policy has it, where `chosen` is by `namespace:name`.
pub(super) fn set(text: &str, chosen: &BTreeMap<String, Chosen>) -> String {
    let lines = text.split_inclusive('\n').map(|line| set_line(line, chosen));
    lines.collect()
}

fn set_line(line: &str, chosen: &BTreeMap<String, Chosen>) -> String {
    let Some(found) = MARKED.captures(line) else { return line.to_owned() };
    let Some(Chosen { name, tag }) = chosen.get(&found["policy"]) else { return line.to_owned() };
    let new = match found.name("part").map(|part| part.as_str()) {
        Some("tag") => tag.clone(),
        Some("name") => name.clone(),
        // No policy of the demo reflects digests.
        Some(_) => return line.to_owned(),
        None => format!("{name}:{tag}"),
    };
    let old = found["value"].trim_matches('"');
    if old == new {
        return line.to_owned();
    }
    let quote = if found["value"].starts_with('"') { "\"" } else { "" };
    let value = &found["value"];
    let start = found["front"].len();
    format!("{}{quote}{new}{quote}{}", &line[..start], &line[start + value.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_marker_sets_its_part() {
        let web = Chosen { name: "r:5000/team/web".to_owned(), tag: "v1.0.3".to_owned() };
        let chosen = BTreeMap::from([("flux-system:web".to_owned(), web)]);
        for (before, after) in [
            (
                "  image: r:5000/team/web:v1.0.2 # {\"$imagepolicy\": \"flux-system:web\"}\n",
                "  image: r:5000/team/web:v1.0.3 # {\"$imagepolicy\": \"flux-system:web\"}\n",
            ),
            (
                "newTag: \"v1.0.2\" # {\"$imagepolicy\": \"flux-system:web:tag\"}",
                "newTag: \"v1.0.3\" # {\"$imagepolicy\": \"flux-system:web:tag\"}",
            ),
            (
                "- r:5000/x # {\"$imagepolicy\":\"flux-system:web:name\"}",
                "- r:5000/team/web # {\"$imagepolicy\":\"flux-system:web:name\"}",
            ),
        ] {
            assert_eq!(set(before, &chosen), after);
            assert_eq!(set(after, &chosen), after);
        }
        for other in ["image: a:1 # {\"$imagepolicy\": \"apps:web\"}\n", "image: a:1\n", "# nothing\n"] {
            assert_eq!(set(other, &chosen), other);
        }
    }
}
