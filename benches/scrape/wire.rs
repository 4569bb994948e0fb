//! The two ends of a scrape: a client that reads and forgets, and the least that a server must do.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;

/// A kept connection, as Prometheus keeps it.
pub struct Client {
    socket: TcpStream,
    request: String,
    buffer: Vec<u8>,
}

impl Client {
    pub fn connect(to: SocketAddr, gzip: bool) -> Self {
        let socket = TcpStream::connect(to).expect("the server listens");
        socket.set_nodelay(true).expect("a socket option");
        Self { socket, request: request(gzip), buffer: vec![0; 256 * 1024] }
    }

    /// One scrape: how long it took until its last byte, and how many bytes its body has.
    pub fn scrape(&mut self) -> (Duration, usize) {
        self.scrape_into(&mut io::sink())
    }

    /// The same, keeping the body.
    pub fn scrape_into(&mut self, body: &mut impl Write) -> (Duration, usize) {
        let started = Instant::now();
        self.socket.write_all(self.request.as_bytes()).expect("it takes requests");
        let mut read = 0;
        let (head, length) = loop {
            let count = self.socket.read(&mut self.buffer[read..]).expect("an answer");
            assert!(count > 0, "the server hung up");
            read += count;
            let Some(end) = self.buffer[..read].windows(4).position(|four| four == b"\r\n\r\n") else {
                continue;
            };
            break (end + 4, length(&self.buffer[..end]));
        };
        body.write_all(&self.buffer[head..read]).expect("it takes every byte");
        let mut left = length - (read - head);
        while left > 0 {
            let count = self.socket.read(&mut self.buffer).expect("the rest");
            assert!(count > 0, "the server hung up");
            body.write_all(&self.buffer[..count]).expect("it takes every byte");
            left -= count;
        }
        (started.elapsed(), length)
    }
}

/// What a scrape asks.
pub fn request(gzip: bool) -> String {
    let packed = if gzip { "Accept-Encoding: gzip\r\n" } else { "" };
    format!(
        "GET /metrics HTTP/1.1\r\nHost: bench\r\nAccept: application/openmetrics-text;version=1.0.0\r\n{packed}\r\n"
    )
}

fn length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    let line = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    line.and_then(|length| length.trim().parse().ok()).unwrap_or_else(|| panic!("no length: {head}"))
}

/// Serves the same bytes in a plain loop until the process ends: they are copied, or packed in one go.
pub fn floor(text: Vec<u8>, gzip: bool) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            // A client that has gone ends its connection only.
            let _ = socket.and_then(|socket| answer(socket, &text, gzip));
        }
    });
    address
}

fn answer(mut socket: TcpStream, text: &[u8], gzip: bool) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut request = [0; 1024];
    // The client sends a request in one piece and waits for its answer.
    while socket.read(&mut request)? > 0 {
        let body = if gzip {
            let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
            packed.write_all(text)?;
            packed.finish()?
        } else {
            text.to_vec()
        };
        write!(socket, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())?;
        socket.write_all(&body)?;
    }
    Ok(())
}
