//! From OpenMetrics text to Prometheus' classic text format 0.0.4, line by line.

/// Drops `# EOF`, `# UNIT` and exemplars; gives a counter's and an info's metadata the name of its samples.
#[must_use]
pub fn from_openmetrics(text: &str) -> String {
    let mut classic = String::with_capacity(text.len());
    // Help comes before the type, and only the type says which name both get.
    let mut help: Option<&str> = None;
    for line in text.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = Some(rest);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                other => ("", other),
            };
            if let Some((_, words)) = help.take().and_then(|rest| rest.split_once(' ')) {
                push(&mut classic, &["# HELP ", name, suffix, " ", words]);
            }
            push(&mut classic, &["# TYPE ", name, suffix, " ", kind]);
        } else {
            push(&mut classic, &[without_exemplar(line)]);
        }
    }
    classic
}

fn push(to: &mut String, parts: &[&str]) {
    parts.iter().for_each(|part| to.push_str(part));
    to.push('\n');
}

/// A sample without what follows its value: ` # {` outside of a quoted label value.
fn without_exemplar(line: &str) -> &str {
    let mut quoted = false;
    let mut escaped = false;
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'#' if !quoted => return line[..at].trim_end(),
            _ => {}
        }
    }
    line
}
