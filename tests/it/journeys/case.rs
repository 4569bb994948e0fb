//! A case file: a sentence, the rules it holds, configuration, facts, and what is expected.

use std::path::Path;

use knotmeter::observation::{
    EnvironmentRule, ExpectRule, FilterTags, LiveWhen, Order, PathRule, Policy, Rules,
};

use super::text::{Read, millis, pair, words};

/// One file of `tests/journeys/`.
#[derive(Debug)]
pub struct Case {
    pub name: String,
    /// As `cargo test` is run, so that a terminal can open it.
    pub file: String,
    pub text: String,
    /// Numbers of the joining rules that it holds.
    pub rules: Vec<u8>,
    pub config: Config,
    pub facts: Vec<Line>,
    pub expect: Vec<Line>,
}

/// A line and where it stands.
#[derive(Debug, Clone)]
pub struct Line {
    pub number: usize,
    /// Milliseconds after the start; facts always have one, expectations only after `at`.
    pub at: Option<i64>,
    pub words: Vec<String>,
}

/// What the operator configured, and how often observers look.
#[derive(Debug, Default)]
pub struct Config {
    pub rules: Rules,
    /// Branches and paths to read: those of the path rules and of `follow:`.
    pub read: Vec<(String, String)>,
    /// Alias, name, uid.
    pub clusters: Vec<(String, String, String)>,
    pub poll: Poll,
}

/// Milliseconds between two looks.
#[derive(Debug)]
pub struct Poll {
    pub registry: i64,
    pub git: i64,
    pub cluster: i64,
}

impl Default for Poll {
    fn default() -> Self {
        Self { registry: 10_000, git: 10_000, cluster: 10_000 }
    }
}

/// Which part of a file a line is in.
#[derive(Debug, Clone, Copy)]
enum Section {
    Head,
    Config,
    Facts,
    Expect,
}

impl Case {
    /// Reads a case.
    pub fn read(path: &Path) -> Read<Self> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let file = format!("tests/journeys/{name}.txt");
        let text = std::fs::read_to_string(path).map_err(|error| format!("{file}: {error}"))?;
        let case = Self::parse(name, file, &text)?;
        if case.rules.is_empty() || case.facts.is_empty() || case.expect.is_empty() {
            return Err(format!("{}:1: a case needs `rule:`, `facts` and `expect`", case.file));
        }
        Ok(case)
    }

    /// Reads the text of a case, whole or not.
    pub fn parse(name: String, file: String, text: &str) -> Read<Self> {
        let mut case = Self {
            name,
            file,
            text: text.to_owned(),
            rules: Vec::new(),
            config: Config::default(),
            facts: Vec::new(),
            expect: Vec::new(),
        };
        let mut section = Section::Head;
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            if number == 1 && !line.starts_with("# ") {
                return Err(format!(
                    "{}:1: the first line says in one sentence what the case holds",
                    case.file
                ));
            }
            let found = words(line);
            if found.is_empty() {
                continue;
            }
            let at_margin = !line.starts_with(' ');
            case.read_line(&mut section, at_margin, Line { number, at: None, words: found })
                .map_err(|error| format!("{}:{number}: {error}", case.file))?;
        }
        Ok(case)
    }

    /// When the case is over: at `end`, else five minutes after the last fact.
    pub fn end(&self) -> i64 {
        let end = self.facts.iter().find(|line| line.words.first().is_some_and(|word| word == "end"));
        let last = || self.facts.iter().filter_map(|line| line.at).max().unwrap_or_default() + 300_000;
        end.and_then(|line| line.at).unwrap_or_else(last)
    }

    fn read_line(&mut self, section: &mut Section, at_margin: bool, mut line: Line) -> Read<()> {
        let first = line.words[0].clone();
        match (at_margin, first.as_str(), *section) {
            (true, "config", _) => *section = Section::Config,
            (true, "facts", _) => *section = Section::Facts,
            (true, "expect", _) => *section = Section::Expect,
            (true, "rule:", _) => self.read_rules(&line.words[1..])?,
            (false, _, Section::Config) => self.config.read_line(&line.words)?,
            (false, _, Section::Facts) => {
                line.at = Some(millis(&line.words.remove(0))?);
                self.facts.push(line);
            }
            (false, "at", Section::Expect) if line.words.len() > 2 => {
                line.at = Some(millis(&line.words[1])?);
                line.words.drain(..2);
                self.expect.push(line);
            }
            (false, _, Section::Expect) => self.expect.push(line),
            _ => return Err(format!("{first:?} begins no line of this section")),
        }
        Ok(())
    }

    fn read_rules(&mut self, words: &[String]) -> Read<()> {
        for word in words {
            let rule = word.parse().ok().filter(|rule| (1..=12).contains(rule));
            self.rules.push(rule.ok_or(format!("{word:?} is not a rule; they go from 1 to 12"))?);
        }
        Ok(())
    }
}

impl Config {
    fn read_line(&mut self, words: &[String]) -> Read<()> {
        let rest = &words[1..];
        match words[0].as_str() {
            "environments:" => {
                for word in rest {
                    self.rules.environments.push(environment(word)?);
                }
            }
            "path:" => {
                let [branch, path, arrow, environment] = rest else {
                    return Err("write `path: BRANCH PATH -> ENVIRONMENT`".into());
                };
                if arrow != "->" {
                    return Err("write `path: BRANCH PATH -> ENVIRONMENT`".into());
                }
                // `.` is the whole tree.
                let path = if path == "." { "" } else { path };
                self.follow(branch, path);
                self.rules.paths.push(PathRule {
                    url: super::git::URL.into(),
                    branch: branch.as_str().into(),
                    path: path.into(),
                    environment: environment.as_str().into(),
                });
            }
            "follow:" => rest.iter().for_each(|branch| self.follow(branch, "")),
            "expect:" => self.rules.expect.push(expect_rule(rest)?),
            "budgets:" => {
                let by_interval = rest.iter().any(|word| word == "by-interval");
                let budgets = &mut self.rules.budgets;
                (budgets.committed_by_interval, budgets.applied_by_interval) = (by_interval, by_interval);
                for (stage, time) in rest.iter().filter_map(|word| pair(word)) {
                    let seconds = millis(time)? as f64 / 1000.0;
                    match stage {
                        "committed" => self.rules.budgets.committed = seconds,
                        "applied" => self.rules.budgets.applied = seconds,
                        "live" => self.rules.budgets.live = seconds,
                        _ => return Err(format!("no budget ends at {stage:?}")),
                    }
                }
            }
            "settle:" => self.rules.settle.min = millis(&rest[0])? as f64 / 1000.0,
            "forget_after:" => self.rules.settle.forget_after = millis(&rest[0])? as f64 / 1000.0,
            "live_when:" => {
                self.rules.live_when = match rest[0].as_str() {
                    "all" => LiveWhen::All,
                    "first" => LiveWhen::First,
                    share => LiveWhen::Share(share.parse().map_err(|_| format!("{share:?} is no share"))?),
                }
            }
            "poll:" => {
                for (source, time) in rest.iter().filter_map(|word| pair(word)) {
                    match source {
                        "registry" => self.poll.registry = millis(time)?,
                        "git" => self.poll.git = millis(time)?,
                        "cluster" => self.poll.cluster = millis(time)?,
                        _ => return Err(format!("{source:?} is not looked at")),
                    }
                }
            }
            "cluster" => {
                let value =
                    |wanted| rest.iter().filter_map(|word| pair(word)).find(|(key, _)| *key == wanted);
                let alias = rest[0].clone();
                let name = value("name").map_or(alias.clone(), |(_, name)| name.to_owned());
                let uid = value("uid").map_or(format!("uid-{alias}"), |(_, uid)| uid.to_owned());
                self.clusters.push((alias, name, uid));
            }
            other => return Err(format!("{other:?} is no line of `config`")),
        }
        Ok(())
    }

    fn follow(&mut self, branch: &str, path: &str) {
        let read = (branch.to_owned(), path.to_owned());
        if !self.read.contains(&read) {
            self.read.push(read);
        }
    }
}

/// `prod=lab/prod,east/prod`; `*` is every cluster or namespace.
fn environment(word: &str) -> Read<EnvironmentRule> {
    let (name, places) = pair(word).ok_or(format!("{word:?} is not name=cluster/namespace"))?;
    let mut rule = EnvironmentRule { name: name.into(), clusters: Vec::new(), namespaces: Vec::new() };
    for place in places.split(',') {
        let (cluster, namespace) =
            place.split_once('/').ok_or(format!("{place:?} is not cluster/namespace"))?;
        for (list, word) in [(&mut rule.clusters, cluster), (&mut rule.namespaces, namespace)] {
            if word != "*" && !list.iter().any(|known| **known == *word) {
                list.push(word.into());
            }
        }
    }
    Ok(rule)
}

/// `IMAGE semver RANGE.. | numerical ORDER | alphabetical ORDER | digest TAG [filter PATTERN [extract WHAT]] in ENVIRONMENT`.
fn expect_rule(words: &[String]) -> Read<ExpectRule> {
    let place = |word: &str| words.iter().position(|known| known == word);
    let end = place("in").filter(|at| at + 2 == words.len()).ok_or("end with `in ENVIRONMENT`")?;
    let filter = place("filter");
    let value_end = filter.unwrap_or(end);
    if value_end < 3 {
        return Err("write `expect: IMAGE POLICY VALUE in ENVIRONMENT`".into());
    }
    let value = words[2..value_end].join(" ");
    let order = || match value.as_str() {
        "asc" => Ok(Order::Asc),
        "desc" => Ok(Order::Desc),
        _ => Err(format!("{value:?} is neither asc nor desc")),
    };
    let policy = match words[1].as_str() {
        "semver" => Policy::Semver { range: value.as_str().into() },
        "numerical" => Policy::Numerical { order: order()? },
        "alphabetical" => Policy::Alphabetical { order: order()? },
        "digest" => Policy::Digest { tag: value.as_str().into() },
        other => return Err(format!("{other:?} is no policy")),
    };
    Ok(ExpectRule {
        image: words[0].parse().map_err(|error| format!("{error}"))?,
        filter: filter.map(|at| FilterTags {
            pattern: words[at + 1].as_str().into(),
            extract: place("extract").map(|at| words[at + 1].as_str().into()),
        }),
        policy,
        environment: words[end + 1].as_str().into(),
    })
}
