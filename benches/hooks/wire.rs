//! A kept connection that sends bytes and reads an answer, and nothing else.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

pub struct Wire {
    socket: TcpStream,
    buffer: Vec<u8>,
}

/// A POST as bytes.
pub fn post(path: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

impl Wire {
    pub fn connect(to: SocketAddr) -> Self {
        let socket = TcpStream::connect(to).expect("the server listens");
        socket.set_nodelay(true).expect("a socket option");
        Self { socket, buffer: vec![0; 256 * 1024] }
    }

    pub fn get(&mut self, path: &str) -> (u16, Vec<u8>) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n").as_bytes())
    }

    pub fn json(&mut self, path: &str) -> Value {
        serde_json::from_slice(&self.get(path).1).expect("JSON")
    }

    /// Only the head: the answer has no body, whatever length it names.
    pub fn head(&mut self, path: &str) -> u16 {
        let accept = "application/vnd.oci.image.manifest.v1+json";
        let request = format!("HEAD {path} HTTP/1.1\r\nHost: bench\r\nAccept: {accept}\r\n\r\n");
        self.socket.write_all(request.as_bytes()).expect("it takes requests");
        self.read_head().0
    }

    /// Sends a request and reads its answer.
    pub fn send(&mut self, request: &[u8]) -> (u16, Vec<u8>) {
        self.socket.write_all(request).expect("it takes requests");
        let (status, head, read, length) = self.read_head();
        let mut body = self.buffer[head..read].to_vec();
        while body.len() < length {
            let count = self.socket.read(&mut self.buffer).expect("the rest");
            assert!(count > 0, "the server hung up");
            body.extend_from_slice(&self.buffer[..count]);
        }
        (status, body)
    }

    /// Status, where the body begins in the buffer, how much was read, and the length that it says.
    fn read_head(&mut self) -> (u16, usize, usize, usize) {
        let mut read = 0;
        loop {
            let count = self.socket.read(&mut self.buffer[read..]).expect("an answer");
            assert!(count > 0, "the server hung up");
            read += count;
            let Some(end) = self.buffer[..read].windows(4).position(|four| four == b"\r\n\r\n") else {
                continue;
            };
            let head = String::from_utf8_lossy(&self.buffer[..end]).to_ascii_lowercase();
            let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
            return (status, end + 4, read, length.unwrap_or(0));
        }
    }
}
