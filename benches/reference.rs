//! Reading an image reference, as every template and every line of git text needs it.

use knotmeter::image::ImageRef;

use super::Bench;

/// Against one pass over the bytes that looks for the marks of the grammar and checks nothing.
pub fn bench() -> Bench {
    let references: Vec<String> = (0..1000)
        .map(|n| match n % 4 {
            0 => format!("registry.example:5000/team/web-{n}:v1.{n}.0"),
            1 => format!("ghcr.io/some-team/service_{n}:main-{n:07x}-20260101"),
            2 => format!("nginx:1.{n}"),
            _ => format!("quay.io/team/web@sha256:{n:064x}"),
        })
        .collect();
    let same = references.clone();
    Bench {
        unit: "ns/reference",
        items: references.len(),
        ours: Box::new(move || references.iter().filter(|text| text.parse::<ImageRef>().is_ok()).count()),
        floor: Box::new(move || {
            same.iter().map(|text| text.bytes().filter(|b| matches!(b, b'/' | b':' | b'@')).count()).sum()
        }),
    }
}
