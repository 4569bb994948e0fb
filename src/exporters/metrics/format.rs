//! Two text formats: OpenMetrics as the encoder writes it, and Prometheus' classic 0.0.4 by a filter over its lines.

/// In which of the two text formats a scrape is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// With exemplars.
    OpenMetrics,
    /// What Prometheus has always read.
    Classic,
}

impl Format {
    /// The format that a scraper's `Accept` header asks for.
    #[must_use]
    pub fn accepted(header: &str) -> Self {
        let quality = |kind: &str| {
            let offers = header.split(',').map(str::trim).filter(|offer| offer.starts_with(kind));
            let weight = |offer: &str| {
                let quality = offer.split(';').find_map(|part| part.trim().strip_prefix("q="));
                quality.map_or(1.0, |text| text.parse::<f64>().unwrap_or(0.0))
            };
            offers.map(weight).fold(0.0, f64::max)
        };
        let open = quality("application/openmetrics-text");
        if open > 0.0 && open >= quality("text/plain") { Self::OpenMetrics } else { Self::Classic }
    }

    /// For the answer's `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

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
