//! Log lines on their way to standard error: at once, or, on a thread that says much, many
//! together. A system call for each line would cost more than the line.

use std::cell::RefCell;
use std::io::{self, Write};

use tracing_subscriber::fmt::MakeWriter;

/// Gathered lines are written at the latest when they are so many bytes.
const GATHERED_MAX: usize = 64 << 10;

thread_local! {
    static GATHERED: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Where the log writes to.
#[derive(Clone, Copy, Debug)]
pub struct Lines;

/// Gathers the lines of this thread from now on, until [`flush`].
pub fn gather() {
    GATHERED.with_borrow_mut(|gathered| *gathered = Some(Vec::with_capacity(GATHERED_MAX)));
}

/// Writes what this thread has gathered.
pub fn flush() {
    GATHERED.with_borrow_mut(|gathered| gathered.iter_mut().for_each(write_out));
}

/// There is nobody to tell that standard error cannot be written.
fn write_out(lines: &mut Vec<u8>) {
    if !lines.is_empty() {
        let _ = io::stderr().lock().write_all(lines);
        lines.clear();
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        GATHERED.with_borrow_mut(|gathered| match gathered {
            Some(lines) => {
                lines.extend_from_slice(line);
                if lines.len() >= GATHERED_MAX {
                    write_out(lines);
                }
                Ok(line.len())
            }
            None => io::stderr().lock().write_all(line).map(|()| line.len()),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Lines;

    fn make_writer(&'a self) -> Lines {
        Lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_gathered_on_their_thread_until_they_are_many() {
        gather();
        let held = || GATHERED.with_borrow(|gathered| gathered.as_ref().map_or(0, Vec::len));
        Lines.write_all(b"one\n").unwrap();
        assert_eq!(held(), 4);
        std::thread::spawn(|| assert!(GATHERED.with_borrow(Option::is_none))).join().unwrap();
        flush();
        assert_eq!(held(), 0);
    }
}
