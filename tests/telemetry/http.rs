//! HTTP on the control socket, in as few words as it takes.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

use crate::common::PATIENCE;

/// Sends one request; `None` if the server went away.
pub(crate) fn request(socket: &Path, method: &str, path: &str, body: &str) -> Option<(u16, Value)> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    exchange(socket, &[head.as_bytes(), body.as_bytes()])
}

/// Sends these pieces, and reads the answer.
pub(crate) fn exchange(socket: &Path, pieces: &[&[u8]]) -> Option<(u16, Value)> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    for piece in pieces {
        // A server that has heard enough answers, and closes.
        if stream.write_all(piece).is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}

/// A GET whose answer is wanted.
#[track_caller]
pub(crate) fn get(socket: &Path, path: &str) -> Value {
    let (status, body) = request(socket, "GET", path, "").expect("an answer");
    assert_eq!(status, 200, "{path}: {body}");
    body
}

/// All values of one metric of one instance, by time.
pub(crate) fn history(socket: &Path, instance: &str, metric: &str) -> Vec<(String, f64)> {
    let path = format!(
        "/v1/telemetry/history?instance={instance}&metric={metric}&limit=10000&from=1000000000"
    );
    let found = get(socket, &path);
    let bucket = |b: &Value| (b["start"].as_str().unwrap().to_owned(), b["last"].as_f64().unwrap());
    found["buckets"].as_array().unwrap().iter().map(bucket).collect()
}
