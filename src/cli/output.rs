//! Standard output and error: colours where a person looks, and no control characters from others.

use std::fmt;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use super::exit::Failure;

/// Where a command writes.
pub(super) struct Output {
    out: BufWriter<Stdout>,
    colour: bool,
    colour_err: bool,
}

impl Output {
    pub(super) fn new() -> Output {
        Output {
            out: BufWriter::new(io::stdout()),
            colour: wants_colour(&io::stdout()),
            colour_err: wants_colour(&io::stderr()),
        }
    }

    /// Whether standard output takes colours.
    pub(super) fn colour(&self) -> bool {
        self.colour
    }

    /// Whether standard error takes colours.
    pub(super) fn colour_err(&self) -> bool {
        self.colour_err
    }

    /// One line that is no result: progress, or where an answer comes from. To standard error.
    pub(super) fn note(&mut self, text: impl fmt::Display) {
        let _ = self.out.flush();
        let _ = writeln!(io::stderr(), "{}", Safe(&text.to_string()));
    }

    /// Text that is laid out already, to standard error.
    pub(super) fn drawn(&mut self, text: &str) {
        let _ = self.out.flush();
        let _ = writeln!(io::stderr(), "{}", text.trim_end());
    }

    /// The last line of a command that failed.
    pub(super) fn complain(&mut self, failure: &Failure) {
        let _ = self.out.flush();
        let (red, plain) = if self.colour_err { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
        let text = failure.to_string();
        let _ = if failure.drawn {
            writeln!(io::stderr(), "{}", text.trim_end())
        } else {
            writeln!(io::stderr(), "{red}error{plain}: {}", Safe(&text))
        };
    }

    /// Everything to the end of `value` as indented JSON.
    pub(super) fn json(&mut self, value: &impl serde::Serialize) -> Result<(), Failure> {
        serde_json::to_writer_pretty(&mut self.out, value).map_err(io::Error::from)?;
        Ok(writeln!(self.out)?)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn wants_colour(stream: &impl IsTerminal) -> bool {
    // no-color.org: set and not empty, whatever the value.
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    stream.is_terminal() && !refused && !dumb
}

/// Text from somewhere else, fit for a terminal: control characters, and those that reorder or
/// hide text, are written as `\n`, `\x1b`, `\u{202e}`. A host name must not drive the screen.
pub(super) struct Safe<'a>(pub(super) &'a str);

impl fmt::Display for Safe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        for c in self.0.chars() {
            match c {
                '\n' | '\r' | '\t' => write!(f, "{}", c.escape_default())?,
                c if c.is_ascii_control() => write!(f, "\\x{:02x}", u32::from(c))?,
                c if c.is_control() || reorders(c) => write!(f, "{}", c.escape_unicode())?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Bidirectional controls, zero-width characters and line separators.
fn reorders(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_the_wire_cannot_drive_a_terminal() {
        assert_eq!(
            Safe("a\x1b[2J\r\nb\u{202e}c\u{9b}").to_string(),
            r"a\x1b[2J\r\nb\u{202e}c\u{9b}"
        );
        assert_eq!(Safe("vm-1.example").to_string(), "vm-1.example");
    }
}
