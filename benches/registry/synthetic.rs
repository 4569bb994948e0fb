//! A registry that invents its answers: as many repositories as anybody asks for, and so many tags in each.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use super::scanner;

/// The length of each tag's name.
pub const NAME_BYTES: usize = 16;
/// Tags in one page, as common registries have it.
const PAGE_TAGS: usize = 1000;

/// A server in this process; its threads end with the process.
pub struct Synthetic {
    pub host: String,
}

impl Synthetic {
    pub fn start(tags: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let host = listener.local_addr().expect("an address").to_string();
        let pages: Arc<Vec<String>> =
            Arc::new((0..tags.div_ceil(PAGE_TAGS).max(1)).map(|at| page(at, tags)).collect());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let pages = pages.clone();
                std::thread::spawn(move || serve(stream, &pages));
            }
        });
        Self { host }
    }
}

/// One page as a complete answer, except for the path in its link.
fn page(at: usize, tags: usize) -> String {
    let names = (at * PAGE_TAGS..tags.min((at + 1) * PAGE_TAGS)).map(scanner::tag);
    let names: Vec<String> = names.map(|name| format!("\"{name}\"")).collect();
    let body = format!("{{\"name\":\"any\",\"tags\":[{}]}}\n", names.join(","));
    let mut answer =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n", body.len());
    if (at + 1) * PAGE_TAGS < tags {
        let next = at + 1;
        write!(answer, "link: <?n={PAGE_TAGS}&last={next}>; rel=\"next\"\r\n").expect("a string grows");
    }
    answer + "\r\n" + &body
}

fn serve(stream: TcpStream, pages: &[String]) {
    stream.set_nodelay(true).expect("a socket");
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).is_ok_and(|read| read > 0) {
        let last = line.split_once("&last=").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        while line != "\r\n" {
            line.clear();
            if stream.read_line(&mut line).is_err() {
                return;
            }
        }
        if stream.get_mut().write_all(pages[last.unwrap_or(0)].as_bytes()).is_err() {
            return;
        }
        line.clear();
    }
}
