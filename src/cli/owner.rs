//! Takes leases in the name of the owners of files.
//!
//! The kernel grants a lease to the owner of a file and to CAP_LEASE, which root in a container does not have
//! by default. It compares the owner with the user that the calling thread accesses files as, and CAP_SETUID may
//! change that. One thread does, and nothing else: it takes no signals and starts nothing. The rest of the
//! command stays what it is, except that it leaves no core any more.

use std::collections::HashSet;
use std::fs::File;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use super::signals;
use crate::file::lock::{self, WriteState};
use crate::file::{reader, sys};
use crate::multiproc::{OwnerLease, Prober};

/// The lease of the whole process, whose thread starts with the first file of another user.
pub(super) fn lease() -> Arc<dyn OwnerLease> {
    static LEASE: OnceLock<Arc<Lease>> = OnceLock::new();
    let lease: Arc<Lease> = Arc::clone(LEASE.get_or_init(Arc::default));
    lease
}

/// A prober that takes leases in the name of the owners of files too.
pub(super) fn prober() -> Prober {
    let mut prober = Prober::default();
    prober.set_owner_lease(lease());
    prober
}

#[derive(Debug, Default)]
struct Lease(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    desk: Desk,
    /// Users that the thread cannot act for: it has no CAP_SETUID, or the user namespace lacks them.
    refused: HashSet<u32>,
}

/// The thread.
#[derive(Debug, Default)]
enum Desk {
    #[default]
    Closed,
    Open {
        requests: Sender<Request>,
        replies: Receiver<Reply>,
    },
    /// It could not be started, or could not become itself again.
    Failed,
}

/// What the lease shows; `None` where the thread cannot act for the owner.
type Reply = Option<WriteState>;

struct Request {
    /// Opened for this, as the lease goes with the open file.
    file: File,
    owner: u32,
}

impl OwnerLease for Lease {
    fn writers(&self, file: &File, owner: u32) -> WriteState {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.refused.contains(&owner) {
            return WriteState::Refused;
        }
        let Ok(file) = reader::reopen(file) else {
            return WriteState::Refused;
        };
        let reply = state.desk.ask(Request { file, owner });
        reply.unwrap_or_else(|| {
            state.refused.insert(owner);
            WriteState::Refused
        })
    }
}

impl Desk {
    fn ask(&mut self, request: Request) -> Reply {
        if matches!(self, Desk::Closed) {
            *self = Desk::open();
        }
        let Desk::Open { requests, replies } = self else {
            return None;
        };
        let reply = requests.send(request).ok().and_then(|()| replies.recv().ok());
        reply.unwrap_or_else(|| {
            *self = Desk::Failed;
            None
        })
    }

    fn open() -> Desk {
        let (requests, inbox) = mpsc::channel();
        let (outbox, replies) = mpsc::channel();
        let thread = thread::Builder::new().name("multiprom-lease".to_owned());
        let started = signals::with_all_blocked(|| thread.spawn(move || answer(&inbox, &outbox)));
        if started.is_ok() { Desk::Open { requests, replies } } else { Desk::Failed }
    }
}

/// Answers requests, for as long as the thread can become itself again.
fn answer(inbox: &Receiver<Request>, outbox: &Sender<Reply>) {
    let own = sys::file_user();
    for Request { file, owner } in inbox {
        // The lease is released under the owner too: the kernel asks for the same right.
        let reply = sys::set_file_user(owner).then(|| lock::writers(&file));
        let is_own_again = sys::set_file_user(own);
        // Releases a lease that is left.
        drop(file);
        if !is_own_again || outbox.send(reply).is_err() {
            return;
        }
    }
}
