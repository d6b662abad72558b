//! Log messages as single lines of limited length.

use std::fmt::{self, Write as _};

/// The longest line in bytes, with prefix and line feed. A pipe takes a line of this length whole or not at all.
///
/// See: pipe(7), `PIPE_BUF`.
pub(crate) const MAX_LINE_LEN: usize = 4096;

pub(super) const PREFIX: &str = "multiprom: ";

/// The end of a message that was cut.
const CUT: &str = "...";

/// Formats a message as one line of limited length. The alternate form of an error includes its causes. Names of files may have
/// control characters, which could end the line or control a terminal: they are escaped.
pub(crate) fn one_line(message: &dyn fmt::Display) -> String {
    let mut line = OneLine { text: String::new(), is_cut: false };
    // OK because the text before a failure is still useful.
    let _ = write!(line, "{message:#}");
    if line.is_cut {
        line.text.push_str(CUT);
    }
    line.text
}

/// Collects text up to the longest line, and escapes control characters except tabs.
struct OneLine {
    text: String,
    is_cut: bool,
}

impl fmt::Write for OneLine {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        const MAX_LEN: usize = MAX_LINE_LEN - PREFIX.len() - CUT.len() - 1;
        let mut buffer = [0; 4];
        for char in text.chars() {
            let escaped;
            let shown = match char {
                '\n' => "\\n",
                '\r' => "\\r",
                _ if char.is_control() && char != '\t' => {
                    escaped = format!("\\u{:04x}", u32::from(char));
                    &escaped
                }
                _ => &*char.encode_utf8(&mut buffer),
            };
            if self.is_cut || self.text.len() + shown.len() > MAX_LEN {
                self.is_cut = true;
                return Err(fmt::Error);
            }
            self.text.push_str(shown);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_that_a_pipe_takes_whole() {
        assert_eq!(one_line(&"a\nb\rc\td"), "a\\nb\\rc\td");
        assert_eq!(one_line(&"\x1b[31m\u{85}\0\x7f"), "\\u001b[31m\\u0085\\u0000\\u007f");
        for char in ["x", "\u{e9}", "\u{1f600}"] {
            let line = one_line(&char.repeat(5000));
            let len = PREFIX.len() + line.len() + 1;
            assert!(line.ends_with(CUT) && len <= MAX_LINE_LEN && len > MAX_LINE_LEN - 8, "{len}");
        }
        let fits = "x".repeat(4000);
        assert_eq!(one_line(&fits), fits);
    }
}
