//! Leases in the name of the owners of files.
//!
//! The kernel grants a lease to the owner of a file and to CAP_LEASE, which root in a container does not have
//! by default. It compares the owner with the filesystem user id of the calling thread, which CAP_SETUID
//! permits to change. A dedicated thread does so: it blocks all signals and starts no process. The other threads
//! keep their user id, but the process becomes undumpable, so it writes no core file.
//!
//! See: setfsuid(2), fcntl(2), "Leases".

use std::collections::HashSet;
use std::fs::File;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use super::signals;
use crate::file::lock::{self, WriteState};
use crate::file::{reader, sys};
use crate::multiproc::{OwnerLease, Prober};
use crate::panics;

/// The lease of this process. Its thread starts at the first file of another user.
pub(super) fn lease() -> Arc<dyn OwnerLease> {
    static LEASE: OnceLock<Arc<Lease>> = OnceLock::new();
    let lease: Arc<Lease> = Arc::clone(LEASE.get_or_init(Arc::default));
    lease
}

/// A prober that also takes leases in the name of the owners of files.
pub(super) fn prober() -> Prober {
    let mut prober = Prober::default();
    prober.set_owner_lease(lease());
    prober
}

#[derive(Debug, Default)]
struct Lease(Mutex<LeaseState>);

#[derive(Debug, Default)]
struct LeaseState {
    thread: LeaseThread,
    /// Users that the thread cannot act for, without CAP_SETUID or because the user namespace lacks them.
    refused: HashSet<u32>,
}

/// The thread that takes leases.
#[derive(Debug, Default)]
enum LeaseThread {
    #[default]
    NotStarted,
    Running {
        requests: Sender<Request>,
        replies: Receiver<Reply>,
    },
    /// It could not be started, or could not restore its user id.
    Failed,
}

/// The result of a lease; `None` if the thread cannot act for the owner.
type Reply = Option<WriteState>;

struct Request {
    /// A separate open file description, as the lease belongs to it.
    file: File,
    owner: u32,
}

impl OwnerLease for Lease {
    fn writers(&self, file: &File, owner: u32) -> WriteState {
        let mut state = panics::lock(&self.0);
        if state.refused.contains(&owner) {
            return WriteState::Refused;
        }
        let Ok(file) = reader::reopen(file) else {
            return WriteState::Refused;
        };
        let reply = state.thread.request(Request { file, owner });
        reply.unwrap_or_else(|| {
            state.refused.insert(owner);
            WriteState::Refused
        })
    }
}

impl LeaseThread {
    fn request(&mut self, request: Request) -> Reply {
        if matches!(self, LeaseThread::NotStarted) {
            *self = LeaseThread::start();
        }
        let LeaseThread::Running { requests, replies } = self else {
            return None;
        };
        let reply = requests.send(request).ok().and_then(|()| replies.recv().ok());
        reply.unwrap_or_else(|| {
            *self = LeaseThread::Failed;
            None
        })
    }

    fn start() -> LeaseThread {
        let (requests, inbox) = mpsc::channel();
        let (outbox, replies) = mpsc::channel();
        let thread = thread::Builder::new().name("multiprom-lease".to_owned());
        let started =
            signals::with_all_blocked(|| thread.spawn(move || process_requests(&inbox, &outbox)));
        if started.is_ok() {
            LeaseThread::Running { requests, replies }
        } else {
            LeaseThread::Failed
        }
    }
}

/// Processes requests as long as the thread can restore its user id.
fn process_requests(inbox: &Receiver<Request>, outbox: &Sender<Reply>) {
    let own = sys::file_user();
    for Request { file, owner } in inbox {
        // The lease is also released under the owner's id, as the kernel checks the same permission.
        let reply = sys::set_file_user(owner).then(|| lock::writers(&file));
        let is_own_again = sys::set_file_user(own);
        // Closing the file releases a lease that is still held.
        drop(file);
        if !is_own_again || outbox.send(reply).is_err() {
            return;
        }
    }
}
