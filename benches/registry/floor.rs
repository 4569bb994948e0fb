//! The least that listing tags can cost: the same requests over as many kept connections, and nothing done with
//! the bytes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use knotmeter::observers::registry::client::HOST_CONCURRENCY;

use crate::process::thread_cpu;

/// What one pass took.
pub struct Pass {
    pub seconds: f64,
    /// CPU time of its threads.
    pub cpu: Duration,
}

/// Lists every repository once.
pub fn scan(host: &str, names: &[String]) -> Pass {
    let next = AtomicUsize::new(0);
    let started = Instant::now();
    let work = || {
        let stream = TcpStream::connect(host).expect("the registry answers");
        stream.set_nodelay(true).expect("a socket");
        let mut stream = BufReader::new(stream);
        let mut body = Vec::new();
        while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
            list(&mut stream, host, name, &mut body);
        }
        thread_cpu()
    };
    let cpu = std::thread::scope(|threads| {
        let threads: Vec<_> = (0..HOST_CONCURRENCY).map(|_| threads.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("it lists")).sum()
    });
    Pass { seconds: started.elapsed().as_secs_f64(), cpu }
}

fn list(stream: &mut BufReader<TcpStream>, host: &str, name: &str, body: &mut Vec<u8>) {
    let request = format!(
        "GET /v2/{name}/tags/list?n=1000 HTTP/1.1\r\nhost: {host}\r\naccept: application/json\r\n\r\n"
    );
    stream.get_mut().write_all(request.as_bytes()).expect("it is sent");
    let mut line = String::new();
    stream.read_line(&mut line).expect("a status");
    assert!(line.contains(" 200 "), "{name}: {line}");
    let (mut length, mut chunked) = (0, false);
    while line != "\r\n" {
        line.clear();
        stream.read_line(&mut line).expect("a header");
        let (header, value) = line.split_once(':').unwrap_or_default();
        match header.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().expect("a length"),
            "transfer-encoding" => chunked = true,
            _ => {}
        }
    }
    body.clear();
    if !chunked {
        body.resize(length, 0);
        stream.read_exact(body).expect("the body");
        return;
    }
    loop {
        line.clear();
        stream.read_line(&mut line).expect("a size");
        let size = usize::from_str_radix(line.trim(), 16).expect("a size");
        let before = body.len();
        body.resize(before + size + 2, 0);
        stream.read_exact(&mut body[before..]).expect("a piece");
        if size == 0 {
            return;
        }
    }
}
