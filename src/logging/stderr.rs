//! Writes to standard error, which may be full, closed, or another file of the program.
//!
//! Descriptor 2 is written to if it is
//!
//! - a terminal or another character device;
//! - the file that it was when this crate was first used in the process or in a parent, unless that was a regular file
//!   that is closed on `exec`: standard error is inherited through `exec`, so the program has opened that file itself;
//! - another pipe or socket, or a regular file that is opened for appending only (`O_WRONLY | O_APPEND`), if it is not
//!   closed on `exec`: the program has put it there by `dup2`.
//!
//! Anything else has received the number after standard error was closed, and must not receive log lines.

#[cfg(all(feature = "cli", target_os = "linux"))]
pub(crate) use linux::write_whole_line;
#[cfg(target_os = "linux")]
pub(crate) use linux::{is_first_process, note_standard_error, write_line};
#[cfg(not(target_os = "linux"))]
pub(crate) use other::{is_first_process, note_standard_error, write_line};

#[cfg(target_os = "linux")]
mod linux {
    use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

    use super::super::line::PREFIX;
    use crate::file::descriptor::{self, Descriptor, FileType};
    use crate::file::sys::Identity;

    const STANDARD_ERROR: i32 = 2;

    /// The file that descriptor 2 was at first, and the process in which that was determined.
    struct First {
        state: AtomicU8,
        process: AtomicU32,
        device: AtomicU64,
        inode: AtomicU64,
    }

    static FIRST: First = First {
        state: AtomicU8::new(NOT_SEEN),
        process: AtomicU32::new(0),
        device: AtomicU64::new(0),
        inode: AtomicU64::new(0),
    };

    const NOT_SEEN: u8 = 0;
    /// Being determined. A child that is forked meanwhile stays in this state.
    const CLAIMED: u8 = 1;
    /// Closed, or a file of the program.
    const FOREIGN: u8 = 2;
    const NOTED: u8 = 3;

    /// Determines which file standard error is, at the first call in a process and its children. Called when the crate is
    /// set up, before it can have anything to log.
    pub(crate) fn note_standard_error() {
        let state = &FIRST.state;
        if state.load(Ordering::Acquire) != NOT_SEEN
            || state
                .compare_exchange(NOT_SEEN, CLAIMED, Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            return;
        }
        FIRST.process.store(std::process::id(), Ordering::Relaxed);
        let own = descriptor::find(STANDARD_ERROR)
            .filter(|found| found.file_type != FileType::Regular || !found.is_closed_on_exec);
        if let Some(found) = &own {
            FIRST.device.store(found.identity.device, Ordering::Relaxed);
            FIRST.inode.store(found.identity.inode, Ordering::Relaxed);
        }
        // ORDERING: release, so that a thread that sees the state sees the rest.
        state.store(if own.is_some() { NOTED } else { FOREIGN }, Ordering::Release);
    }

    /// Whether this is the process in which standard error was determined, and not a child of it.
    pub(crate) fn is_first_process() -> bool {
        note_standard_error();
        let is_noted = FIRST.state.load(Ordering::Acquire) > CLAIMED;
        is_noted && FIRST.process.load(Ordering::Relaxed) == std::process::id()
    }

    fn first() -> Option<Identity> {
        (FIRST.state.load(Ordering::Acquire) == NOTED).then(|| Identity {
            device: FIRST.device.load(Ordering::Relaxed),
            inode: FIRST.inode.load(Ordering::Relaxed),
        })
    }

    /// Whether lines may be written to the descriptor with the number of standard error. See the documentation of the module.
    fn accepts(found: &Descriptor, first: Option<Identity>) -> bool {
        let is_put_there = !found.is_closed_on_exec;
        match found.file_type {
            FileType::CharacterDevice => true,
            // They include files that all have the same identity, such as eventfd.
            FileType::Other => false,
            _ if first == Some(found.identity) => true,
            FileType::Pipe | FileType::Socket => is_put_there,
            FileType::Regular => is_put_there && found.is_append_only,
        }
    }

    /// Writes one line to standard error, unless it is full, closed, or a file of the program.
    pub(crate) fn write_line(message: &str) {
        write_whole_line(&format!("{PREFIX}{message}\n"));
    }

    /// The same for a line that is complete, with its line feed.
    pub(crate) fn write_whole_line(line: &str) {
        note_standard_error();
        if let Some(found) = descriptor::find(STANDARD_ERROR).filter(|it| accepts(it, first())) {
            // OK because there is no other way to report it.
            let _ = descriptor::write_at_once(STANDARD_ERROR, found.file_type, line.as_bytes());
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_file_that_received_the_number_of_standard_error_is_distinguished_from_one_put_there_by_dup2()
         {
            let identity = |inode| Identity { device: 1, inode };
            let all = [
                FileType::CharacterDevice,
                FileType::Pipe,
                FileType::Socket,
                FileType::Regular,
                FileType::Other,
            ];
            let found = |file_type, inode, is_closed_on_exec, is_append_only| Descriptor {
                identity: identity(inode),
                file_type,
                is_closed_on_exec,
                is_append_only,
            };
            let first = Some(identity(7));
            let accepted = |inode, on_exec, append| {
                all.map(|file_type| accepts(&found(file_type, inode, on_exec, append), first))
            };
            // The first file is accepted whatever its flags are.
            assert_eq!(accepted(7, false, false), [true, true, true, true, false]);
            assert_eq!(accepted(7, true, false), [true, true, true, true, false]);
            // Put there by dup2.
            assert_eq!(accepted(8, false, true), [true, true, true, true, false]);
            assert_eq!(accepted(8, false, false), [true, true, true, false, false]);
            // Opened by the program.
            assert_eq!(accepted(8, true, true), [true, false, false, false, false]);
            assert!(!accepts(&found(FileType::Regular, 7, false, false), None));
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use std::io::Write as _;

    use super::super::line::PREFIX;

    pub(crate) fn note_standard_error() {}

    pub(crate) fn is_first_process() -> bool {
        true
    }

    /// Writes one line to standard error.
    pub(crate) fn write_line(message: &str) {
        // OK because there is no other way to report it.
        let _ = std::io::stderr().write_all(format!("{PREFIX}{message}\n").as_bytes());
    }
}
