//! What the library logs: failures that have no caller to return to.
//!
//! A line goes to the hook of the program if it has set one, else, by the features `log` and `tracing`, to the logger
//! of the program, else to standard error. It is formatted at once, and passed on when the thread holds no lock of this
//! crate: see [`Deferred`].
//!
//! Nothing here waits for a reader or for another thread, and nothing is written into a file of the program that has
//! got the number of standard error: see [`stderr`].

mod stderr;

use std::cell::{Cell, RefCell};
use std::fmt::{self, Write as _};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

pub(crate) use stderr::note_standard_error;

/// The longest line, with its prefix and its line feed: what a pipe takes whole or not at all. See: pipe(7),
/// `PIPE_BUF`.
const MAX_LINE_LEN: usize = 4096;

const PREFIX: &str = "multiprom: ";

/// Ends a message that is too long.
const CUT: &str = "...";

/// Lines of one thread that wait for the release of a lock. More are dropped.
const MAX_WAITING: usize = 16;

/// One line of what the library logs.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LogLine<'a> {
    /// What went wrong: one line, without prefix and line feed.
    pub message: &'a str,
}

type Hook = Box<dyn Fn(&LogLine<'_>) + Send + Sync>;

/// A hook, the process that set it, and the hook that was set after it.
struct SetHook {
    process: u32,
    hook: Hook,
    next: OnceLock<Box<SetHook>>,
}

static FIRST_HOOK: OnceLock<Box<SetHook>> = OnceLock::new();

/// Passes what the library logs to a function, in place of standard error.
///
/// There are few such lines, all of them warnings: the first series that does not fit into a file, for example, or a
/// directory that other users may write. The hook is called in the thread that the line is about, while that holds no
/// lock of this crate; recording in it is allowed. What is logged while the hook runs goes to standard error, so it is
/// never called by itself, and so does the line if it panics. The last hook that was set counts.
///
/// A forked child writes to standard error until it calls this function itself: another thread of the parent may have
/// held a lock of the logger that the hook uses, which nobody in the child would release. The same holds for the
/// features `log` and `tracing`, which pass lines to those crates, as warnings with the target `multiprom`, if the
/// program has set a logger or a subscriber.
///
/// ```
/// multiprom::set_log_hook(|line| println!("metrics: {}", line.message));
/// ```
pub fn set_log_hook(hook: impl Fn(&LogLine<'_>) + Send + Sync + 'static) {
    let process = std::process::id();
    let mut new = Box::new(SetHook { process, hook: Box::new(hook), next: OnceLock::new() });
    let mut place = &FIRST_HOOK;
    loop {
        match place.set(new) {
            Ok(()) => return,
            Err(refused) => new = refused,
        }
        // OK because it is set, as `set` has just found.
        let Some(set) = place.get() else { return };
        place = &set.next;
    }
}

/// The hook of this process that was set last.
fn hook() -> Option<&'static Hook> {
    let process = std::process::id();
    let hooks = std::iter::successors(FIRST_HOOK.get(), |set| set.next.get());
    hooks.filter(|set| set.process == process).last().map(|set| &set.hook)
}

/// What a thread logs.
struct Thread {
    /// How many [`Deferred`] there are.
    deferrals: Cell<usize>,
    waiting: RefCell<Vec<String>>,
    is_in_hook: Cell<bool>,
}

thread_local! {
    // Never dropped, so that a thread that is ending can log. The list is emptied with the last deferral.
    static THREAD: ManuallyDrop<Thread> = const {
        ManuallyDrop::new(Thread {
            deferrals: Cell::new(0),
            waiting: RefCell::new(Vec::new()),
            is_in_hook: Cell::new(false),
        })
    };
}

/// While there is one, lines of this thread wait. They are passed on when the last one is dropped: after the lock that
/// it was made with, which is declared before it.
pub(crate) struct Deferred(());

impl Deferred {
    pub(crate) fn begin() -> Deferred {
        THREAD.with(|thread| thread.deferrals.set(thread.deferrals.get() + 1));
        Deferred(())
    }
}

impl Drop for Deferred {
    fn drop(&mut self) {
        THREAD.with(|thread| {
            let left = thread.deferrals.get() - 1;
            thread.deferrals.set(left);
            if left == 0 && thread.waiting.try_borrow().is_ok_and(|waiting| !waiting.is_empty()) {
                let lines = thread.waiting.take();
                for message in &lines {
                    pass_on(thread, message);
                }
            }
        });
    }
}

/// Logs one line. Nothing that can happen to it changes anything for the host program.
pub(crate) fn log_line(message: &dyn fmt::Display) {
    let message = one_line(message);
    THREAD.with(|thread| {
        if thread.deferrals.get() == 0 {
            return pass_on(thread, &message);
        }
        // OK because a signal handler that logs while the list is being changed loses its line.
        if let Ok(mut waiting) = thread.waiting.try_borrow_mut()
            && waiting.len() < MAX_WAITING
        {
            waiting.push(message);
        }
    });
}

fn pass_on(thread: &Thread, message: &str) {
    let is_taken = !thread.is_in_hook.replace(true) && {
        let line = LogLine { message };
        let called = catch_unwind(AssertUnwindSafe(|| match hook() {
            Some(hook) => {
                hook(&line);
                true
            }
            None => stderr::is_first_process() && forward(&line),
        }));
        thread.is_in_hook.set(false);
        called.unwrap_or(false)
    };
    if !is_taken {
        stderr::write_line(message);
    }
}

/// Writes one line to standard error, whatever hooks and loggers there are: for the command.
#[cfg_attr(
    not(all(feature = "cli", target_os = "linux")),
    allow(dead_code, reason = "for the command")
)]
pub(crate) fn write_line(message: &dyn fmt::Display) {
    stderr::write_line(&one_line(message));
}

/// Passes a line to the loggers of the program; `false` where it has set none.
fn forward(line: &LogLine<'_>) -> bool {
    let is_taken = false;
    #[cfg(feature = "tracing")]
    let is_taken = forward_to_tracing(line) || is_taken;
    #[cfg(feature = "log")]
    let is_taken = forward_to_log(line) || is_taken;
    let _ = line;
    is_taken
}

/// Passes a line to the crate `log`, as a warning with the target `multiprom`; `false` where no logger is set.
#[cfg(feature = "log")]
fn forward_to_log(line: &LogLine<'_>) -> bool {
    let has_logger = log::max_level() != log::LevelFilter::Off;
    log::warn!(target: "multiprom", "{}", line.message);
    has_logger
}

/// Passes a line to the crate `tracing`, as a warning with the target `multiprom`; `false` where no subscriber is
/// set.
#[cfg(feature = "tracing")]
fn forward_to_tracing(line: &LogLine<'_>) -> bool {
    tracing::warn!(target: "multiprom", "{}", line.message);
    tracing::dispatcher::has_been_set()
}

/// A message as one line that fits.
fn one_line(message: &dyn fmt::Display) -> String {
    let mut line = OneLine { text: String::new(), is_cut: false };
    // OK because what was written before a failure is still worth a line.
    let _ = write!(line, "{message}");
    if line.is_cut {
        line.text.push_str(CUT);
    }
    line.text
}

/// Takes text up to the longest line. Line feeds are escaped.
struct OneLine {
    text: String,
    is_cut: bool,
}

impl fmt::Write for OneLine {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        const MAX_LEN: usize = MAX_LINE_LEN - PREFIX.len() - CUT.len() - 1;
        let mut buffer = [0; 4];
        for char in text.chars() {
            let shown = match char {
                '\n' => "\\n",
                '\r' => "\\r",
                _ => char.encode_utf8(&mut buffer),
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
    use std::sync::{Arc, Mutex};

    #[test]
    fn a_message_is_one_line_that_a_pipe_takes_whole() {
        assert_eq!(one_line(&"a\nb\rc"), "a\\nb\\rc");
        for char in ["x", "\u{e9}", "\u{1f600}"] {
            let line = one_line(&char.repeat(5000));
            let len = PREFIX.len() + line.len() + 1;
            assert!(line.ends_with(CUT) && len <= MAX_LINE_LEN && len > MAX_LINE_LEN - 8, "{len}");
        }
        let fits = "x".repeat(4000);
        assert_eq!(one_line(&fits), fits);
    }

    /// Each test of hooks has a message of its own: there is one hook for all of them.
    fn lines() -> Arc<Mutex<Vec<String>>> {
        static LINES: OnceLock<Arc<Mutex<Vec<String>>>> = OnceLock::new();
        let lines = LINES.get_or_init(|| {
            let lines: Arc<Mutex<Vec<String>>> = Arc::default();
            let taken = Arc::clone(&lines);
            set_log_hook(|_| panic!("a hook that was replaced is called"));
            set_log_hook(move |line| {
                taken.lock().unwrap().push(line.message.to_owned());
                assert_ne!(line.message, "panic", "the hook panics");
                if line.message == "again" {
                    log_line(&"logged by the hook");
                }
            });
            lines
        });
        Arc::clone(lines)
    }

    fn count(lines: &Mutex<Vec<String>>, message: &str) -> usize {
        lines.lock().unwrap().iter().filter(|line| *line == message).count()
    }

    #[test]
    fn lines_wait_for_the_end_of_the_last_deferral() {
        let lines = lines();
        let outer = Deferred::begin();
        let inner = Deferred::begin();
        for number in 0..=MAX_WAITING {
            log_line(&format_args!("waits {number}"));
        }
        drop(inner);
        assert_eq!(count(&lines, "waits 0"), 0);
        std::thread::spawn(|| log_line(&"of another thread")).join().unwrap();
        assert_eq!(count(&lines, "of another thread"), 1);
        drop(outer);
        assert_eq!(count(&lines, "waits 0"), 1);
        assert_eq!(count(&lines, &format!("waits {}", MAX_WAITING - 1)), 1);
        assert_eq!(count(&lines, &format!("waits {MAX_WAITING}")), 0);
    }

    #[test]
    fn a_hook_is_not_called_by_itself_and_may_panic() {
        let lines = lines();
        log_line(&"again");
        log_line(&"panic");
        log_line(&"after the panic");
        assert_eq!(count(&lines, "again"), 1);
        assert_eq!(count(&lines, "logged by the hook"), 0);
        assert_eq!(count(&lines, "after the panic"), 1);
    }

    #[test]
    fn a_thread_that_is_ending_logs() {
        struct AtTheEnd;
        impl Drop for AtTheEnd {
            fn drop(&mut self) {
                let deferred = Deferred::begin();
                log_line(&"at the end");
                drop(deferred);
            }
        }
        thread_local!(static LATE: AtTheEnd = const { AtTheEnd });
        let lines = lines();
        std::thread::spawn(|| LATE.with(|_| log_line(&"before the end"))).join().unwrap();
        assert_eq!((count(&lines, "before the end"), count(&lines, "at the end")), (1, 1));
    }

    #[cfg(feature = "log")]
    #[test]
    fn a_logger_of_the_crate_log_gets_warnings_once_it_is_set() {
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
        let line = LogLine { message: "to a logger" };
        assert!(!forward_to_log(&line));
        log::set_logger(&Logger).unwrap();
        log::set_max_level(log::LevelFilter::Warn);
        assert!(forward_to_log(&line));
        let lines = LINES.lock().unwrap();
        assert_eq!(lines.iter().filter(|it| *it == "WARN multiprom: to a logger").count(), 1);
    }

    #[cfg(feature = "tracing")]
    #[test]
    fn a_subscriber_of_the_crate_tracing_gets_warnings_once_it_is_set() {
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
        let line = LogLine { message: "to a subscriber" };
        assert!(!forward_to_tracing(&line));
        tracing::subscriber::set_global_default(Subscriber).unwrap();
        assert!(forward_to_tracing(&line));
        let lines = LINES.lock().unwrap();
        assert_eq!(lines.iter().filter(|it| *it == "WARN multiprom: to a subscriber").count(), 1);
    }
}
