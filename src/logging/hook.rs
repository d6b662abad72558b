//! The log hook of the program.

use crate::fork_safe::AppendList;

/// How important a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum LogLevel {
    /// Something works again, or a changed configuration is in use.
    Info,
    /// A problem.
    Warn,
}

/// One line that the library logs.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LogLine<'a> {
    /// The text of the line, without prefix and line feed.
    pub message: &'a str,
    /// The level of the line.
    pub level: LogLevel,
}

type Hook = Box<dyn Fn(&LogLine<'_>) + Send + Sync>;

/// A hook, and the process that set it.
struct SetHook {
    process: u32,
    hook: Hook,
}

/// All hooks in the order in which they were set. Not a `OnceLock`: see [`fork_safe`](crate::fork_safe).
static HOOKS: AppendList<SetHook> = AppendList::new();

/// Passes log lines of the library to a function instead of standard error.
///
/// There are few such lines. Most of them are warnings, for example that a series does not fit into a file or that other users
/// may write to the directory. The hook is called in the thread in which the problem occurred, while that thread holds no
/// lock of this crate, so the hook may record. Lines that are logged while the hook runs go to standard error, as does a
/// line for which the hook panics. A new hook replaces the previous one.
///
/// A forked child writes to standard error until it calls this function itself, as another thread of the parent may have
/// held a lock of the logger that the hook uses, which is never released in the child. For the same reason a child does
/// not use the features `log` and `tracing`. These pass lines to the crates of these names, with their level and the target
/// `multiprom`, if the program has set a logger or a subscriber.
///
/// ```
/// multiprom::set_log_hook(|line| println!("metrics: {}", line.message));
/// ```
pub fn set_log_hook(hook: impl Fn(&LogLine<'_>) + Send + Sync + 'static) {
    HOOKS.push(SetHook { process: std::process::id(), hook: Box::new(hook) });
}

/// Returns the hook that this process has set last.
pub(super) fn hook() -> Option<&'static Hook> {
    let process = std::process::id();
    HOOKS.iter().filter(|set| set.process == process).last().map(|set| &set.hook)
}
