//! What we care about in the text of the project: who imports whom, how large files are, which words stay out.
//!
//! Each rule is a function from files to complaints; a complaint says file, line and what to do instead. Every
//! rule is also shown a bad example, so that a rule that can no longer fail is noticed.

mod imports;
mod source;
mod tree;
mod words;

use std::fmt;

use source::Source;

/// Who may import whom, by top module of `src/`. A new edge here is a design change: say so in the commit.
const IMPORTS: &[(&str, &[&str])] = &[
    ("image", &[]),
    ("observation", &["image"]),
    ("policy", &["image", "observation"]),
    ("config", &["image", "observation", "policy"]),
    ("journal", &["image", "observation"]),
    ("tracker", &["image", "observation", "policy"]),
    ("observers", &["image", "observation", "policy", "config"]),
    ("exporters", &["image", "observation", "policy", "tracker"]),
    ("http", &["image", "observation", "policy", "tracker", "exporters"]),
    ("smoketest", &["image", "observation", "policy", "tracker", "exporters", "http"]),
    // It speaks OCI, git and the Kubernetes API; knowing the observers or the tracker it could cheat.
    ("demo", &["image"]),
    ("telemetry", &["config", "exporters"]),
    (
        "app",
        &[
            "image",
            "observation",
            "policy",
            "config",
            "journal",
            "tracker",
            "observers",
            "exporters",
            "http",
            "smoketest",
            "telemetry",
        ],
    ),
    (
        "cli",
        &[
            "image",
            "observation",
            "policy",
            "config",
            "journal",
            "tracker",
            "observers",
            "exporters",
            "http",
            "smoketest",
            "demo",
            "telemetry",
            "app",
        ],
    ),
    ("main", &["cli", "telemetry"]),
];

/// A file longer than this holds two ideas.
const LINES_MAX: usize = 500;

/// One thing that is wrong, and what to do about it.
struct Complaint {
    file: String,
    line: usize,
    what: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

#[track_caller]
fn none(complaints: Vec<Complaint>) {
    let lines: Vec<String> = complaints.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} complaints\n{}", lines.len(), lines.join("\n"));
}

/// The complaints about one invented file, as `line: what`.
fn about(rule: impl Fn(&Source) -> Vec<Complaint>, file: &str, text: &str) -> Vec<String> {
    rule(&Source::new(file, text)).iter().map(|c| format!("{}: {}", c.line, c.what)).collect()
}

#[test]
fn imports_point_one_way() {
    none(source::rust("src").iter().flat_map(|file| imports::check(IMPORTS, file)).collect());
}

#[test]
fn a_bad_import_is_found() {
    let check = |file: &str, text: &str| about(|source| imports::check(IMPORTS, source), file, text);
    let bad = "tracker must not import http: see IMPORTS in tests/it/tidy.rs";
    assert_eq!(
        check("src/tracker/mod.rs", "use crate::image::Tag;\nuse crate::http::Page;\n"),
        [format!("2: {bad}")]
    );
    assert_eq!(check("src/tracker/a.rs", "use crate::{image::Tag,\n  http};\n"), [format!("1: {bad}")]);
    assert_eq!(check("src/tracker/a.rs", "fn f() { crate::http::page() }\n"), [format!("1: {bad}")]);
    assert_eq!(check("src/tracker/a.rs", "use super::super::http::Page;\n"), [format!("1: {bad}")]);
    assert_eq!(check("src/tracker.rs", "use super::http::Page;\n"), [format!("1: {bad}")]);
    assert_eq!(
        check("src/demo/mod.rs", "use crate::observers::git;\n"),
        ["1: demo must not import observers: see IMPORTS in tests/it/tidy.rs"],
    );
    assert_eq!(
        check("src/fleet/mod.rs", "use crate::image::Tag;\n"),
        ["1: fleet has no row in IMPORTS of tests/it/tidy.rs: add it below what it may know"],
    );
}

#[test]
fn a_mention_is_not_an_import() {
    let check = |text: &str| about(|source| imports::check(IMPORTS, source), "src/tracker/a.rs", text);
    assert!(check("//! See [`crate::http`].\n/* crate::http /* nested */ crate::app */\n").is_empty());
    assert!(check("const A: &str = \"crate::http\";\nconst B: &str = r#\"a \" crate::http\"#;\n").is_empty());
    assert!(
        check("fn f<'a>(a: &'a str, quote: char) { let c = '\"'; crate::image::x(c) } // crate::http\n")
            .is_empty()
    );
    assert!(check("use super::stage::Stage;\nuse self::a::b;\nuse crate::tracker::Stage;\n").is_empty());
    assert!(check("use other_crate::http;\n").is_empty());
}

#[test]
fn files_hold_one_idea() {
    none(everything_in_rust().iter().flat_map(tree::length).collect());
}

#[test]
fn a_long_file_is_found() {
    let found = about(tree::length, "src/a.rs", &"\n".repeat(LINES_MAX + 1));
    assert_eq!(found, ["501: more than 500 lines: split the file by idea"]);
}

#[test]
fn folders_open_with_a_front_page() {
    none(source::rust("src").iter().flat_map(tree::front_page).collect());
}

#[test]
fn a_missing_front_page_is_found() {
    assert_eq!(about(tree::front_page, "src/http/mod.rs", "mod page;\n").len(), 1);
    assert_eq!(
        about(tree::front_page, "src/http/mod.rs", "//! Serves.\n\nmod page;\n").len(),
        1,
        "too short"
    );
    assert!(about(tree::front_page, "src/http/page.rs", "fn f() {}\n").is_empty());
}

#[test]
fn names_say_what_is_inside() {
    none(everything_in_rust().iter().flat_map(tree::name).collect());
    assert_eq!(about(tree::name, "src/http/utils.rs", "").len(), 1);
}

#[test]
fn every_file_is_in_the_module_tree() {
    let src = source::rust("src");
    let mut complaints = tree::orphans(&src, &["src/lib.rs", "src/main.rs"]);
    complaints.extend(tree::orphans(&source::rust("tests/it"), &["tests/it/main.rs"]));
    complaints.extend(tree::orphans(&source::rust("benches"), &["benches/main.rs"]));
    none(complaints);
}

#[test]
fn a_file_outside_the_module_tree_is_found() {
    let files = [
        Source::new("src/lib.rs", "pub mod http;\n// mod old;\n"),
        Source::new("src/http/mod.rs", "//! .\nmod page;\n"),
        Source::new("src/http/page.rs", "mod row;\n"),
        Source::new("src/http/page/row.rs", ""),
        Source::new("src/old.rs", ""),
    ];
    let found: Vec<String> = tree::orphans(&files, &["src/lib.rs"]).iter().map(|c| c.file.clone()).collect();
    assert_eq!(found, ["src/old.rs"]);
}

#[test]
fn unfinished_work_and_luck_stay_out() {
    none(everything_in_rust().iter().flat_map(words::code).collect());
    none(source::texts().iter().flat_map(words::text).collect());
}

/// The examples stand in files of their own, each line after the number of its complaints.
#[test]
fn unfinished_work_and_luck_are_found() {
    let hold = |examples: &str, rule: fn(&Source) -> Vec<Complaint>| {
        for line in examples.lines() {
            let (count, text) = line.split_once(' ').expect("a number and an example");
            assert_eq!(about(rule, "src/a.rs", text).len().to_string(), count, "{text}");
        }
    };
    hold(include_str!("tidy/bad/code.txt"), words::code);
    hold(include_str!("tidy/bad/text.txt"), words::text);
}

#[test]
fn documents_name_metrics_that_exist() {
    let Some(table) = source::text("docs/metrics.md") else { return };
    none(source::documents().iter().flat_map(|file| words::metrics(&table, file)).collect());
}

#[test]
fn an_invented_metric_is_found() {
    let table = Source::new(
        "docs/metrics.md",
        "| `knotmeter_journeys_total` |\n| `knotmeter_stage_duration_seconds` |\n",
    );
    let check = |text: &str| about(|file| words::metrics(&table, file), "docs/a.md", text).len();
    assert_eq!(check("rate(knotmeter_journeys_total[5m])\n`knotmeter_stage_duration_seconds_bucket`\n"), 0);
    assert_eq!(check("`knotmeter_journies_total`\n"), 1);
}

fn everything_in_rust() -> Vec<Source> {
    ["src", "tests", "benches"].iter().flat_map(|folder| source::rust(folder)).collect()
}
