//! The `Link` header (RFC 8288), as far as paging needs it.

/// The target of the first link whose relation is `next`, exactly as written.
#[must_use]
pub fn next(header: &str) -> Option<&str> {
    let mut rest = header;
    while let Some(open) = rest.find('<') {
        let (target, after) = rest[open + 1..].split_once('>')?;
        let end = outside_quotes(after, ',').unwrap_or(after.len());
        let (parameters, following) = after.split_at(end);
        if is_next(parameters) {
            return Some(target);
        }
        rest = following;
    }
    None
}

fn is_next(mut parameters: &str) -> bool {
    while !parameters.is_empty() {
        let end = outside_quotes(parameters, ';').unwrap_or(parameters.len());
        let (name, value) = parameters[..end].split_once('=').unwrap_or_default();
        if name.trim().eq_ignore_ascii_case("rel") {
            let relations = value.trim().trim_matches('"');
            // RFC 8288: of several `rel` the first counts.
            return relations.split_ascii_whitespace().any(|word| word.eq_ignore_ascii_case("next"));
        }
        parameters = parameters.get(end + 1..).unwrap_or_default();
    }
    false
}

/// Where the separator first stands outside a quoted string.
pub(super) fn outside_quotes(text: &str, separator: char) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    text.char_indices().find_map(|(at, c)| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if c == separator && !quoted => return Some(at),
            _ => {}
        }
        None
    })
}
