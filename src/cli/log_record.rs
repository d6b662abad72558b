//! Log records as lines of JSON or logfmt.
//!
//! Times, levels and keys are those of Go's slog, which Prometheus uses. Both formats escape strings as JSON does. A line is at
//! most as long as a pipe takes whole: longer values are cut.

use std::fmt::{self, Write as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::log_args::Level;
use crate::logging::MAX_LINE_LEN;

/// The maximum length in bytes of the value of a field, escaped.
const MAX_FIELD_LEN: usize = 512;

/// The end of a value that was cut.
const CUT: &str = "...";

/// The value of a field.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field<'a> {
    Text(&'a str),
    Number(u64),
}

/// A log record.
pub(super) struct Record<'a> {
    pub(super) time: SystemTime,
    pub(super) level: Level,
    pub(super) message: &'a str,
    pub(super) fields: &'a [(&'a str, Field<'a>)],
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Level::Debug => "DEBUG",
            Level::Info => "INFO",
            Level::Warn => "WARN",
            Level::Error => "ERROR",
        }
    }
}

impl Record<'_> {
    /// A JSON object, with the line feed.
    pub(super) fn to_json(&self) -> String {
        let (time, level) = (Timestamp(self.time), self.level.as_str());
        let mut line = format!("{{\"time\":\"{time}\",\"level\":\"{level}\",\"msg\":\"");
        let mut end = "\"".to_owned();
        for (name, value) in self.fields {
            let _ = write!(end, ",\"{name}\":");
            match value {
                Field::Number(number) => _ = write!(end, "{number}"),
                Field::Text(text) => {
                    end.push('"');
                    escape(&mut end, text, MAX_FIELD_LEN);
                    end.push('"');
                }
            }
        }
        end.push_str("}\n");
        let max = MAX_LINE_LEN.saturating_sub(line.len() + end.len());
        escape(&mut line, self.message, max);
        line + &end
    }

    /// Pairs of keys and values, with the line feed.
    pub(super) fn to_logfmt(&self) -> String {
        let (time, level) = (Timestamp(self.time), self.level.as_str());
        let mut line = format!("time={time} level={level} msg=");
        let mut end = String::new();
        for (name, value) in self.fields {
            let _ = write!(end, " {name}=");
            match value {
                Field::Number(number) => _ = write!(end, "{number}"),
                Field::Text(text) => write_logfmt(&mut end, text, MAX_FIELD_LEN),
            }
        }
        end.push('\n');
        let quotes = 2;
        let max = MAX_LINE_LEN.saturating_sub(line.len() + end.len() + quotes);
        write_logfmt(&mut line, self.message, max);
        line + &end
    }
}

/// Writes a value, in quotes unless it consists of characters that need none.
fn write_logfmt(line: &mut String, text: &str, max: usize) {
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '=' | '`');
    if !text.is_empty() && text.len() <= max && text.chars().all(is_plain) {
        return line.push_str(text);
    }
    line.push('"');
    escape(line, text, max);
    line.push('"');
}

/// Appends text with the escapes of JSON, at most `max` bytes. Control characters and separators that end lines are escaped.
fn escape(line: &mut String, text: &str, max: usize) {
    let begin = line.len();
    // Where the text is cut if it does not fit.
    let mut cut = begin;
    let mut buffer = [0; 4];
    for c in text.chars() {
        let escaped;
        let shown: &str = match c {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                escaped = format!("\\u{:04x}", u32::from(c));
                &escaped
            }
            c => c.encode_utf8(&mut buffer),
        };
        if line.len() - begin + shown.len() > max {
            line.truncate(cut);
            line.push_str(CUT);
            return;
        }
        line.push_str(shown);
        if line.len() - begin + CUT.len() <= max {
            cut = line.len();
        }
    }
}

/// A time in the form of RFC 3339, in UTC, with milliseconds.
struct Timestamp(SystemTime);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
        // Eras of 400 years begin on 1 March, so that the leap day is the last day of a year.
        // See: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
        let days = days + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let milliseconds = since.subsec_millis();
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record<'a>(message: &'a str, fields: &'a [(&'a str, Field<'a>)]) -> Record<'a> {
        let time = UNIX_EPOCH + Duration::from_millis(1_795_777_787_123);
        Record { time, level: Level::Warn, message, fields }
    }

    #[test]
    fn times_have_the_form_of_rfc_3339() {
        let time = |seconds| Timestamp(UNIX_EPOCH + Duration::from_secs(seconds)).to_string();
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(951_782_399), "2000-02-28T23:59:59.000Z");
        assert_eq!(time(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(time(1_709_251_199), "2024-02-29T23:59:59.000Z");
        assert_eq!(time(4_107_542_400), "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn values_are_escaped_in_both_formats() {
        let name = String::from_utf8_lossy(b"a \"q\"\n\r\t\\\x1b[31m\xff\xc2\x85=\xe2\x80\xa8")
            .into_owned();
        let fields = [("path", Field::Text(&name)), ("count", Field::Number(600))];
        let escaped = "a \\\"q\\\"\\n\\r\\t\\\\\\u001b[31m\u{fffd}\\u0085=\\u2028";
        let record = record(&name, &fields);
        let begin = "2026-11-27T11:09:47.123Z";
        assert_eq!(
            record.to_json(),
            format!(
                "{{\"time\":\"{begin}\",\"level\":\"WARN\",\"msg\":\"{escaped}\",\"path\":\"{escaped}\",\"count\":600}}\n"
            )
        );
        assert_eq!(
            record.to_logfmt(),
            format!("time={begin} level=WARN msg=\"{escaped}\" path=\"{escaped}\" count=600\n")
        );
        let value: serde_json::Value = serde_json::from_str(&record.to_json()).unwrap();
        assert_eq!((value["msg"].as_str(), value["count"].as_u64()), (Some(&*name), Some(600)));
    }

    #[test]
    fn values_of_logfmt_that_need_no_quotes_have_none() {
        let text = |message| {
            let line = record(message, &[]).to_logfmt();
            line.split_once("msg=").unwrap().1.to_owned()
        };
        assert_eq!(text("/run/app"), "/run/app\n");
        for (message, quoted) in [("", "\"\""), ("a b", "\"a b\""), ("a=b", "\"a=b\"")] {
            assert_eq!(text(message), format!("{quoted}\n"));
        }
    }

    #[test]
    fn a_line_is_as_long_as_a_pipe_takes_whole_and_still_valid() {
        for char in ["x", "\u{e9}", "\u{1f600}", "\"", "\u{1b}"] {
            let long = char.repeat(5000);
            let fields = [("path", Field::Text(&long))];
            let record = record(&long, &fields);
            let (json, logfmt) = (record.to_json(), record.to_logfmt());
            let value: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert!(value["msg"].as_str().unwrap().ends_with(CUT));
            for line in [json, logfmt] {
                assert!(
                    line.len() <= MAX_LINE_LEN && line.len() > MAX_LINE_LEN - 16,
                    "{}",
                    line.len()
                );
            }
        }
    }
}
