//! The small words of a case: times, intervals, digests, images.

use std::collections::HashMap;

use knotmeter::image::{Digest, ImageRef};
use knotmeter::observation::{Interval, ObjectKey, Time, WorkloadKind};

/// `0s` of every case: 2026-03-02 12:00:00 UTC, a Monday.
pub const START: Time = Time(1_772_452_800_000);

/// What a case says, or the sentence that tells its author what is wrong with it.
pub type Read<T> = Result<T, String>;

/// `90s`, `1m30s`, `3d2h`, `500ms`, `-5m`, as milliseconds.
pub fn millis(text: &str) -> Read<i64> {
    let wrong = || format!("{text:?} is not a time such as 90s, 1m30s, 3d or 500ms");
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total = 0;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let letters = after.len() - after.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, after) = after.split_at(letters);
        let unit = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        total += number.parse::<i64>().map_err(|_| wrong())? * unit;
        rest = after;
    }
    Ok(sign * total)
}

/// `T`, `T1..T2` or `..T2`, after [`START`].
pub fn interval(text: &str) -> Read<Interval> {
    let at = |text: &str| millis(text).map(|t| START + t);
    match text.split_once("..") {
        None => Ok(Interval::at(at(text)?)),
        Some(("", to)) => Ok(Interval::until(at(to)?)),
        Some((from, to)) => Ok(Interval::new(at(from)?, at(to)?)),
    }
}

/// A time as a case writes it.
pub fn show_time(time: Time) -> String {
    if !time.is_known() {
        return String::new();
    }
    let millis = time.0 - START.0;
    let (sign, mut rest) = (if millis < 0 { "-" } else { "" }, millis.abs());
    let mut text = String::new();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
        // Up to two minutes people count seconds.
        if rest >= size && !(unit == "m" && rest < 120_000 && text.is_empty()) {
            text.push_str(&format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    if text.is_empty() { "0s".into() } else { format!("{sign}{text}") }
}

/// An interval as a case writes it.
pub fn show_interval(interval: Interval) -> String {
    if interval.not_before == interval.not_after {
        show_time(interval.not_after)
    } else {
        format!("{}..{}", show_time(interval.not_before), show_time(interval.not_after))
    }
}

/// The digest that a word stands for.
pub fn digest(word: &str) -> Digest {
    word.parse().unwrap_or_else(|_| Digest::of(word.as_bytes()))
}

/// `r.io/team/web:1.0.0`, or pinned by a word: `r.io/team/web:1.0.0@aa`, written out.
pub fn image_text(text: &str) -> Read<String> {
    let full = match text.split_once('@') {
        Some((name, word)) => format!("{name}@{}", digest(word)),
        None => text.to_owned(),
    };
    full.parse::<ImageRef>().map_err(|error| error.to_string())?;
    Ok(full)
}

pub fn image(text: &str) -> Read<ImageRef> {
    image_text(text)?.parse().map_err(|error| format!("{error}"))
}

/// `prod/web` is a Deployment; `statefulset:prod/db` says otherwise.
pub fn object_key(text: &str) -> Read<ObjectKey> {
    let (kind, rest) = text.split_once(':').unwrap_or(("deployment", text));
    let kind = match kind {
        "deployment" => WorkloadKind::Deployment,
        "statefulset" => WorkloadKind::StatefulSet,
        "daemonset" => WorkloadKind::DaemonSet,
        "cronjob" => WorkloadKind::CronJob,
        _ => return Err(format!("{kind:?} is no kind of workload")),
    };
    let (namespace, name) = rest.split_once('/').ok_or(format!("{text:?} is not namespace/name"))?;
    Ok(ObjectKey { kind, namespace: namespace.into(), name: name.into() })
}

/// `key=value` of a word.
pub fn pair(word: &str) -> Option<(&str, &str)> {
    word.split_once('=').filter(|(key, _)| !key.is_empty())
}

/// The words of a line; quotes keep spaces together, ` #` starts a comment.
pub fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            '#' if !quoted && word.is_empty() => break,
            c if c.is_whitespace() && !quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Which word of a case a digest was made from, so that failures speak the case's language.
pub fn digest_names(text: &str) -> HashMap<Digest, String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .filter(|word| !word.is_empty())
        .map(|word| (Digest::of(word.as_bytes()), word.to_owned()))
        .collect()
}
