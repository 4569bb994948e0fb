//! Names of hosts and people replaced by made-up ones, the same everywhere in one bundle, and their texts left out.
//!
//! What decides a journey (paths, tags, digests, commits, times) stays. Passwords are in no observation.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::observation::Observation;

/// Hosts that everybody knows, and that mean something when they are left out of a reference.
const PUBLIC: [&str; 6] = ["docker.io", "index.docker.io", "ghcr.io", "quay.io", "gcr.io", "registry.k8s.io"];
/// Keys whose texts people or servers wrote.
const TEXTS: [&str; 2] = ["subject", "message"];
/// Keys that name people or programs that act for them.
const PEOPLE: [&str; 1] = ["author"];

/// See the file's front line.
#[derive(Debug, Default)]
pub struct Redactor {
    names: BTreeMap<String, String>,
    hosts: usize,
    people: usize,
}

impl Redactor {
    /// Notes the names that an observation holds.
    pub fn learn(&mut self, observation: &Observation) {
        let mut hosts = BTreeSet::new();
        let mut people = BTreeSet::new();
        if let Ok(json) = serde_json::to_value(observation) {
            collect(&json, "", &mut hosts, &mut people);
        }
        for host in hosts.into_iter().filter(|host| !PUBLIC.contains(&host.as_str())) {
            if !self.names.contains_key(&host) {
                self.hosts += 1;
                self.names.insert(host, format!("host-{}.example", self.hosts));
            }
        }
        for person in people {
            if !self.names.contains_key(&person) {
                self.people += 1;
                self.names.insert(person, format!("person-{}", self.people));
            }
        }
    }

    /// Replaces them in an observation's JSON.
    pub fn replace(&self, json: &mut Value) {
        self.replace_at(json, "");
    }

    fn replace_at(&self, json: &mut Value, key: &str) {
        match json {
            Value::String(text) if TEXTS.contains(&key) => *text = "(left out)".into(),
            Value::String(text) => {
                if let Some(name) = self.names.get(text.as_str()) {
                    text.clone_from(name);
                    return;
                }
                // The longest first: a host may be the end of another.
                let mut found: Vec<_> = self
                    .names
                    .iter()
                    .filter(|(name, _)| is_host(name) && text.contains(name.as_str()))
                    .collect();
                found.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
                for (name, instead) in found {
                    *text = text.replace(name.as_str(), instead);
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.replace_at(value, key)),
            Value::Object(fields) => {
                for (key, value) in fields.iter_mut() {
                    self.replace_at(value, key);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

fn collect(json: &Value, key: &str, hosts: &mut BTreeSet<String>, people: &mut BTreeSet<String>) {
    match json {
        Value::String(text) if PEOPLE.contains(&key) => {
            people.insert(text.clone());
        }
        Value::String(text) => {
            let after = text.split_once("://").map_or(text.as_str(), |(_, rest)| rest);
            let first = after.split('/').next().unwrap_or_default();
            let names_host = text.contains("://") || text.contains('/') || key == "name";
            if names_host && is_host(first) {
                hosts.insert(first.to_owned());
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, key, hosts, people)),
        Value::Object(fields) => fields.iter().for_each(|(key, value)| collect(value, key, hosts, people)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A name with a dot, or with a port.
fn is_host(text: &str) -> bool {
    let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
    let of_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let named = !name.is_empty() && name.chars().all(of_host) && !name.starts_with('.');
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    named && port.map_or(name.contains('.'), is_port)
}
