//! The HTTP API on the control socket, spoken without the code under test.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::PATIENCE;

/// Something to be asked: method, path, body.
pub(crate) type Ask = (&'static str, String, Value);

/// A connection that is kept.
pub(crate) struct Api {
    socket: PathBuf,
    stream: Option<UnixStream>,
}

impl Api {
    /// A caller at this control socket.
    pub(crate) fn at(socket: &Path) -> Api {
        Api { socket: socket.to_owned(), stream: None }
    }

    /// The status and the body of the answer; text that is no JSON comes as a string.
    #[track_caller]
    pub(crate) fn ask(&mut self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let stream = self.stream.get_or_insert_with(|| {
            let stream = UnixStream::connect(&self.socket).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
        });
        stream.write_all(request.as_bytes()).unwrap();
        read_answer(stream)
    }

    /// What a GET finds.
    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, &Value::Null);
        assert_eq!(status, 200, "{path}: {body}");
        body
    }
}

fn read_answer(stream: &mut UnixStream) -> (u16, Value) {
    let (mut seen, mut block) = (Vec::new(), [0; 65_536]);
    loop {
        let got = stream.read(&mut block).unwrap();
        assert!(got > 0, "the server closed: {:?}", String::from_utf8_lossy(&seen));
        seen.extend(&block[..got]);
        let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&seen[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
        if seen.len() >= end + 4 + length {
            let body = &seen[end + 4..];
            let text = || Value::String(String::from_utf8_lossy(body).into_owned());
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            return (status, serde_json::from_slice(body).unwrap_or_else(|_| text()));
        }
    }
}

/// Asks all of it over these connections at once; the answers in the order of the questions.
#[track_caller]
pub(crate) fn ask_all(apis: &mut [Api], asks: Vec<Ask>) -> Vec<(u16, Value)> {
    let count = apis.len();
    let mut answers = vec![(0, Value::Null); asks.len()];
    std::thread::scope(|scope| {
        let asks = &asks;
        let workers: Vec<_> = apis
            .iter_mut()
            .enumerate()
            .map(|(first, api)| {
                scope.spawn(move || {
                    let own = asks.iter().enumerate().skip(first).step_by(count);
                    let ask = |(at, (method, path, body)): (usize, &Ask)| {
                        (at, api.ask(method, path, body))
                    };
                    own.map(ask).collect::<Vec<_>>()
                })
            })
            .collect();
        for worker in workers {
            for (at, answer) in worker.join().unwrap() {
                answers[at] = answer;
            }
        }
    });
    answers
}
