//! The loggers of the crates `log` and `tracing`.

#[cfg(any(feature = "log", feature = "tracing"))]
use super::hook::LogLevel;
use super::hook::LogLine;

/// Passes a line to the loggers of the program. Returns `false` if it has set none.
pub(super) fn forward(line: &LogLine<'_>) -> bool {
    let is_taken = false;
    #[cfg(feature = "tracing")]
    let is_taken = forward_to_tracing(line) || is_taken;
    #[cfg(feature = "log")]
    let is_taken = forward_to_log(line) || is_taken;
    let _ = line;
    is_taken
}

/// Passes a line to the crate `log`, with its level and the target `multiprom`. Returns `false` if no logger is set.
#[cfg(feature = "log")]
fn forward_to_log(line: &LogLine<'_>) -> bool {
    let has_logger = log::max_level() != log::LevelFilter::Off;
    let level = match line.level {
        LogLevel::Info => log::Level::Info,
        LogLevel::Warn => log::Level::Warn,
    };
    log::log!(target: "multiprom", level, "{}", line.message);
    has_logger
}

/// Passes a line to the crate `tracing`, with its level and the target `multiprom`. Returns `false` if no subscriber is
/// set.
#[cfg(feature = "tracing")]
fn forward_to_tracing(line: &LogLine<'_>) -> bool {
    match line.level {
        LogLevel::Info => tracing::info!(target: "multiprom", "{}", line.message),
        LogLevel::Warn => tracing::warn!(target: "multiprom", "{}", line.message),
    }
    tracing::dispatcher::has_been_set()
}

#[cfg(all(test, any(feature = "log", feature = "tracing")))]
mod tests {
    use super::*;
    #[cfg(feature = "tracing")]
    use std::fmt;
    use std::sync::Mutex;

    #[cfg(feature = "log")]
    #[test]
    fn a_logger_of_the_crate_log_gets_lines_once_it_is_set() {
        struct Logger;
        static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
        impl log::Log for Logger {
            fn enabled(&self, _: &log::Metadata<'_>) -> bool {
                true
            }

            fn log(&self, record: &log::Record<'_>) {
                let line = format!("{} {}: {}", record.level(), record.target(), record.args());
                LINES.lock().unwrap().push(line);
            }

            fn flush(&self) {}
        }
        let line = LogLine { message: "to a logger", level: LogLevel::Warn };
        assert!(!forward_to_log(&line));
        log::set_logger(&Logger).unwrap();
        log::set_max_level(log::LevelFilter::Info);
        assert!(forward_to_log(&line));
        assert!(forward_to_log(&LogLine { message: "works again", level: LogLevel::Info }));
        let lines = LINES.lock().unwrap();
        assert_eq!(lines.iter().filter(|it| *it == "WARN multiprom: to a logger").count(), 1);
        assert_eq!(lines.iter().filter(|it| *it == "INFO multiprom: works again").count(), 1);
    }

    #[cfg(feature = "tracing")]
    #[test]
    fn a_subscriber_of_the_crate_tracing_gets_lines_once_it_is_set() {
        use tracing::field::{Field, Visit};
        use tracing::span;

        struct Subscriber;
        static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
        struct Message(String);
        impl Visit for Message {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        impl tracing::Subscriber for Subscriber {
            fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
                true
            }

            fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
                span::Id::from_u64(1)
            }

            fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

            fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

            fn event(&self, event: &tracing::Event<'_>) {
                let mut message = Message(String::new());
                event.record(&mut message);
                let (level, target) = (event.metadata().level(), event.metadata().target());
                LINES.lock().unwrap().push(format!("{level} {target}: {}", message.0));
            }

            fn enter(&self, _: &span::Id) {}

            fn exit(&self, _: &span::Id) {}
        }
        let line = LogLine { message: "to a subscriber", level: LogLevel::Warn };
        assert!(!forward_to_tracing(&line));
        tracing::subscriber::set_global_default(Subscriber).unwrap();
        assert!(forward_to_tracing(&line));
        assert!(forward_to_tracing(&LogLine { message: "works again", level: LogLevel::Info }));
        let lines = LINES.lock().unwrap();
        assert_eq!(lines.iter().filter(|it| *it == "WARN multiprom: to a subscriber").count(), 1);
        assert_eq!(lines.iter().filter(|it| *it == "INFO multiprom: works again").count(), 1);
    }
}
