//! Just enough of an HTTP client.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::common::PATIENCE;
use crate::common::world::Host;

/// An answer: status, headers in lower case, body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Asks over TCP on the network of `host`; `None` if nobody answers.
pub(crate) fn tcp(host: &Host, addr: &str, path: &str, accept: &str) -> Option<Answer> {
    let addr: SocketAddr = addr.parse().unwrap();
    let stream = host.enter(|| TcpStream::connect(addr)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    exchange(stream, path, accept)
}

/// Asks over a Unix socket.
pub(crate) fn unix(socket: &Path, path: &str, accept: &str) -> Option<Answer> {
    let stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    exchange(stream, path, accept)
}

fn exchange(mut stream: impl Read + Write, path: &str, accept: &str) -> Option<Answer> {
    // Of HTTP/1.0 the end of the answer is that of the connection.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: test\r\nAccept: {accept}\r\n\r\n").ok()?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text).ok()?;
    let text = String::from_utf8(text).expect("text");
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() })
}

/// A value of a query string.
pub(crate) fn encode(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    encoded.collect()
}
