//! Which of a repository's tags a policy takes. Pure functions of the policy's spec and the tags.

use regex::Regex;
use semver::{Version, VersionReq};
use serde_json::Value;

/// Why a policy takes none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoChoice {
    /// The policy itself is wrong.
    Invalid(String),
    /// No tag fits.
    Nothing(String),
}

/// The tag that the policy takes.
pub(super) fn choose(spec: &Value, tags: &[String]) -> Result<String, NoChoice> {
    let filtered = filtered(&spec["filterTags"], tags)?;
    let candidates: Vec<&str> = filtered.iter().map(|(key, _)| key.as_str()).collect();
    if candidates.is_empty() {
        return Err(NoChoice::Nothing("version list argument cannot be empty".to_owned()));
    }
    let policy = &spec["policy"];
    let chosen = if let Some(range) = policy["semver"]["range"].as_str() {
        by_version(range, &candidates)?
    } else if policy["numerical"].is_object() {
        by_number(descends(&policy["numerical"]), &candidates)?
    } else if policy["alphabetical"].is_object() {
        let mut sorted = candidates.clone();
        sorted.sort_unstable();
        let at = if descends(&policy["alphabetical"]) { 0 } else { sorted.len() - 1 };
        sorted[at].to_owned()
    } else {
        return Err(NoChoice::Invalid(
            "invalid policy: given ImagePolicyChoice object is invalid".to_owned(),
        ));
    };
    let original = filtered.into_iter().find(|(key, _)| *key == chosen);
    Ok(original.map_or(chosen, |(_, tag)| tag))
}

/// The tags that the filter lets through, each with the text that is compared.
fn filtered(filter: &Value, tags: &[String]) -> Result<Vec<(String, String)>, NoChoice> {
    let Some(pattern) = filter["pattern"].as_str().filter(|pattern| !pattern.is_empty()) else {
        return Ok(tags.iter().map(|tag| (tag.clone(), tag.clone())).collect());
    };
    let regex = Regex::new(pattern).map_err(|error| {
        NoChoice::Invalid(format!(
            "failed to filter tags: invalid regular expression pattern '{pattern}': {error}"
        ))
    })?;
    let extract = filter["extract"].as_str().unwrap_or_default();
    let found = tags.iter().filter_map(|tag| {
        let captures = regex.captures(tag)?;
        let mut key = String::new();
        captures.expand(extract, &mut key);
        Some((if extract.is_empty() { tag.clone() } else { key }, tag.clone()))
    });
    Ok(found.collect())
}

fn descends(policy: &Value) -> bool {
    policy["order"].as_str().is_some_and(|order| order.eq_ignore_ascii_case("desc"))
}

fn by_version(range: &str, candidates: &[&str]) -> Result<String, NoChoice> {
    let wanted = range.split([',', ' ']).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
    let wanted = VersionReq::parse(&wanted)
        .map_err(|_| NoChoice::Invalid(format!("invalid policy: improper constraint: {range}")))?;
    let version = |tag: &str| Version::parse(tag.strip_prefix('v').unwrap_or(tag)).ok();
    let fitting = candidates.iter().filter_map(|tag| Some((version(tag)?, *tag)));
    let latest = fitting.filter(|(version, _)| wanted.matches(version)).max_by(|a, b| a.0.cmp(&b.0));
    latest
        .map(|(_, tag)| tag.to_owned())
        .ok_or_else(|| NoChoice::Nothing("unable to determine latest version from provided list".to_owned()))
}

fn by_number(descends: bool, candidates: &[&str]) -> Result<String, NoChoice> {
    let mut best: Option<(f64, &str)> = None;
    for candidate in candidates {
        let number: f64 = candidate
            .parse()
            .map_err(|_| NoChoice::Nothing(format!("failed to parse invalid numeric value '{candidate}'")))?;
        if best.is_none_or(|(other, _)| if descends { number <= other } else { number >= other }) {
            best = Some((number, candidate));
        }
    }
    Ok(best.map(|(_, tag)| tag.to_owned()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn chosen(spec: Value) -> Result<String, NoChoice> {
        let tags = ["v1.0.2", "v1.0.10", "v1.0.9", "v1.1.0-rc.1", "latest"].map(str::to_owned);
        choose(&spec, &tags)
    }

    #[test]
    fn each_kind_of_policy_takes_its_tag() {
        let semver = json!({"policy": {"semver": {"range": ">=1.0.0"}}});
        assert_eq!(chosen(semver), Ok("v1.0.10".to_owned()));
        let filter = json!({"pattern": r"^v1\.0\.(?P<n>[0-9]+)$", "extract": "$n"});
        let numerical = json!({"policy": {"numerical": {"order": "asc"}}, "filterTags": filter});
        assert_eq!(chosen(numerical), Ok("v1.0.10".to_owned()));
        let alphabetical = json!({"policy": {"alphabetical": {"order": "asc"}}});
        assert_eq!(chosen(alphabetical), Ok("v1.1.0-rc.1".to_owned()));
    }

    #[test]
    fn a_policy_that_takes_nothing_says_why() {
        let none = json!({"policy": {"semver": {"range": ">=2.0.0"}}});
        let nothing = |why: &str| Err(NoChoice::Nothing(why.to_owned()));
        assert_eq!(chosen(none), nothing("unable to determine latest version from provided list"));
        let empty = json!({"policy": {"semver": {"range": "*"}}, "filterTags": {"pattern": "^x"}});
        assert_eq!(chosen(empty), nothing("version list argument cannot be empty"));
        let wrong = json!({"policy": {"semver": {"range": "soon"}}});
        assert!(matches!(chosen(wrong), Err(NoChoice::Invalid(_))));
    }
}
