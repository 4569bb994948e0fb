//! Breaks texts. The same seed breaks the same text in the same way.

/// How many inputs there are to one that is blown up to the largest size.
const BLOWN_UP_EVERY: u64 = 100;
/// The largest of the others. Most mistakes are in small texts, and many of those are read in the same time.
const SMALL: usize = 16 << 10;
const CHANGES_MAX: usize = 8;

/// What has broken parsers before: ends and beginnings of every notation that we read, numbers at the edge of
/// their types, letters that are not what they look like.
const NASTY: &[&[u8]] = &[
    b"\0",
    b"\xff\xfe",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xef\xbb\xbf",
    "\u{202e}".as_bytes(),
    "\u{130}".as_bytes(),
    "\u{df}".as_bytes(),
    "\u{1f600}".as_bytes(),
    "\u{2028}".as_bytes(),
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"\\\"",
    b"'",
    b"`",
    b"{",
    b"}",
    b"[",
    b"]",
    b"{}",
    b"[]",
    b"(",
    b")",
    b":",
    b": ",
    b",",
    b";",
    b"=",
    b"<",
    b">",
    b"@",
    b"@sha256:",
    b"sha256:",
    b"/",
    b"//",
    b"/*",
    b"*/",
    b"..",
    b"../..",
    b"%",
    b"%00",
    b"%2",
    b"&a ",
    b"*a",
    b"<<: *a",
    b"!!binary ",
    b"!!int ",
    b"!",
    b"? ",
    b"- ",
    b"|\n",
    b">-\n",
    b"|||",
    b"'''",
    b"---\n",
    b"...\n",
    b"#",
    b"# ",
    b"\r",
    b"\r\n",
    b"\n",
    b"\n\n",
    b"\t",
    b" ",
    b"{{",
    b"{{ .Values.a }}",
    b"${",
    b"$(",
    b"null",
    b"~",
    b"true",
    b"-1",
    b"-0",
    b"1e999",
    b"-1e-999",
    b"NaN",
    b".inf",
    b"255",
    b"65536",
    b"2147483648",
    b"9223372036854775807",
    b"9223372036854775808",
    b"18446744073709551616",
    b"340282366920938463463374607431768211456",
    b"0x7fffffffffffffff",
    b"0.0000000000000000000001",
    b"1969-12-31T23:59:59Z",
    b"0000-00-00T00:00:00Z",
    b"9999-12-31T23:59:60Z",
    b"+262142-12-31T23:59:59Z",
    b"-262143-01-01T00:00:00+23:59",
    b"24:00",
    b"rel=next",
    b"Bearer ",
    b"x.x.x",
    b"99999999999999999999.0.0",
    b"||",
    b" - ",
    b"^v(?P<x>.*)$",
    b"(?:a{1000}){1000}",
    b"[[:alpha:]",
    b"127.0.0.1",
    b"[::1]:0",
    b"http://",
    b"git@",
    b"ssh://-oProxy",
    b"\x1b[31m",
    b"metadata",
    b"image",
    b"containers",
    b"spec",
    b"items",
    b"type",
    b"object",
];

/// Beginnings that can be repeated without an end.
const DEEP: &[&[u8]] = &[
    b"[",
    b"{\"a\":",
    b"[[",
    b"{",
    b"(",
    b"- ",
    b"- - ",
    b"? ",
    b"&a [*a, ",
    b"((?:",
    b"a:\n ",
    b"\"",
    b"\\",
    b"{\"object\":{",
    b"<",
    b"{{",
    b"*",
    b">=1||",
    b"1.2 - ",
    b"/*",
    b"!",
    b"a,",
    b"a/",
    b"@",
    b"%25",
];

/// SplitMix64: every seed is a good one.
pub struct Random(u64);

impl Random {
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to below `end`, and 0 where there is nothing below.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap()
    }

    pub fn one_of<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

/// One of the texts, broken. Not above `largest` bytes, and usually far below.
pub fn broken(examples: &[Vec<u8>], largest: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::seeded(seed);
    let mut text = examples[random.below(examples.len())].clone();
    if seed % BLOWN_UP_EVERY == 1 {
        blow_up(&mut text, largest, &mut random);
        return text;
    }
    for _ in 0..=random.below(CHANGES_MAX) {
        let other = &examples[random.below(examples.len())];
        change(&mut text, other, &mut random);
    }
    text.truncate(largest.min(SMALL.max(text.len() / 2)));
    text
}

fn piece(text: &[u8], random: &mut Random) -> std::ops::Range<usize> {
    let from = random.below(text.len() + 1);
    // Short pieces are the interesting ones.
    let most = if random.below(4) == 0 { text.len() } else { 32 };
    from..(from + random.below(most + 1)).min(text.len())
}

fn change(text: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(text.len() + 1);
    match random.below(11) {
        0 if at < text.len() => text[at] ^= 1 << random.below(8),
        1 if at < text.len() => text[at] = random.next().to_le_bytes()[0],
        2 => drop(text.drain(piece(text, random))),
        3 => {
            let again = text[piece(text, random)].to_vec();
            drop(text.splice(at..at, again));
        }
        4 => drop(text.splice(at..at, random.one_of(NASTY).iter().copied())),
        5 => {
            let instead = piece(text, random);
            drop(text.splice(instead, random.one_of(NASTY).iter().copied()));
        }
        6 => drop(text.splice(at..at, other[piece(other, random)].to_vec())),
        7 => text.truncate(at),
        8 => drop(text.splice(at..at, random.one_of(DEEP).repeat(1 + random.below(200)))),
        // A value, wherever one stands: what is behind a colon or an equals sign.
        9 => {
            let behind =
                text.iter().enumerate().filter(|(_, byte)| matches!(byte, b':' | b'=')).map(|(at, _)| at + 1);
            let places: Vec<usize> = behind.collect();
            if !places.is_empty() {
                let from = places[random.below(places.len())];
                let end = text[from..]
                    .iter()
                    .position(|byte| b",;}\n".contains(byte))
                    .map_or(text.len(), |end| from + end);
                drop(text.splice(from..end, random.one_of(NASTY).iter().copied()));
            }
        }
        _ => text.reverse(),
    }
}

/// As much as the parser's caller lets through, of one thing.
fn blow_up(text: &mut Vec<u8>, largest: usize, random: &mut Random) {
    let of: Vec<u8> = match random.below(4) {
        0 => random.one_of(DEEP).to_vec(),
        1 => random.one_of(NASTY).to_vec(),
        2 => {
            // What stands between two lines or commas is a thing of its own, and many of it are still well-formed.
            let separators =
                text.iter().enumerate().filter(|(_, byte)| matches!(byte, b',' | b'\n')).map(|(at, _)| at);
            let places: Vec<usize> = separators.collect();
            let from = places.get(random.below(places.len())).copied().unwrap_or(0);
            let end = places.iter().find(|end| **end > from).copied().unwrap_or(text.len());
            text[from..end].to_vec()
        }
        _ => text[piece(text, random)].to_vec(),
    };
    let room = largest.saturating_sub(text.len());
    let count = room / of.len().max(1);
    let at = random.below(text.len() + 1);
    drop(text.splice(at..at, of.repeat(if of.is_empty() { 0 } else { count })));
    text.truncate(largest);
}
