//! Descriptors that forked children close.
//!
//! A child must keep neither the lock of its parent's series files nor its sockets: a worker would look alive, and a
//! port would stay taken, for as long as the child lives. An atfork handler of the child goes through a fixed
//! table of descriptors, as it may neither allocate nor take a lock. It closes, and does not unlock or shut down,
//! which would act on the parent's lock or connection. A raw `clone` runs no handler.
#![expect(unsafe_code, reason = "close of a descriptor number")]

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use super::process;
use super::sys::{self, Identity};

/// A descriptor that forked children close. Written under no lock, one slot by one thread.
struct Inherited {
    /// The number, [`FREE`] or [`CLAIMED`].
    fd: AtomicI32,
    device: AtomicU64,
    inode: AtomicU64,
    /// The number of the process that opened the descriptor.
    process: AtomicU64,
}

/// A process has up to 13 series files for each directory that it writes to, and an exporter up to 256
/// connections.
const MAX_INHERITED: usize = 1536;

static INHERITED: [Inherited; MAX_INHERITED] = [const {
    Inherited {
        fd: AtomicI32::new(FREE),
        device: AtomicU64::new(0),
        inode: AtomicU64::new(0),
        process: AtomicU64::new(0),
    }
}; MAX_INHERITED];

/// The number of a free slot.
const FREE: RawFd = -1;
/// The number of a slot that is being filled.
const CLAIMED: RawFd = -2;

/// The slot of a descriptor.
#[derive(Debug)]
pub(crate) struct Slot {
    index: usize,
    fd: RawFd,
}

/// Has children that are forked from now on close `fd`, if it is still the same file there.
///
/// Where all slots are taken the children keep it. No fork may be under way between the opening of the descriptor
/// and this call, nor between its closing and that it is forgotten: the kernel copies the descriptors before the
/// memory with the table.
///
/// See: `copy_process` in `kernel/fork.c`.
pub(crate) fn close_in_children(fd: RawFd) -> Option<Slot> {
    let identity = sys::identity(fd)?;
    for (index, slot) in INHERITED.iter().enumerate() {
        let claim = slot.fd.compare_exchange(FREE, CLAIMED, Ordering::Relaxed, Ordering::Relaxed);
        if claim.is_ok() {
            slot.device.store(identity.device, Ordering::Relaxed);
            slot.inode.store(identity.inode, Ordering::Relaxed);
            slot.process.store(process::number(), Ordering::Relaxed);
            // ORDERING: release, so that a child which sees the number sees the identity.
            slot.fd.store(fd, Ordering::Release);
            return Some(Slot { index, fd });
        }
    }
    None
}

/// Forgets a descriptor that is closed. Other descriptors of the same file stay.
pub(crate) fn forget_slot(slot: &Slot) {
    if let Some(entry) = INHERITED.get(slot.index) {
        let _ = entry.fd.compare_exchange(slot.fd, FREE, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Runs in the child after each fork, where only async-signal-safe calls are allowed. Keeps descriptors that the child
/// opened itself, in a fork handler of the host that ran before.
pub(super) fn close_all() {
    let process = process::number();
    for slot in &INHERITED {
        let fd = slot.fd.load(Ordering::Acquire);
        if fd == FREE {
            // A store would make the child copy the page.
            continue;
        }
        if fd >= 0 && slot.process.load(Ordering::Relaxed) == process {
            continue;
        }
        let identity = Identity {
            device: slot.device.load(Ordering::Relaxed),
            inode: slot.inode.load(Ordering::Relaxed),
        };
        if fd >= 0 && sys::identity(fd) == Some(identity) {
            // SAFETY: the number still is the inherited copy of our file, and nobody in this process
            // uses it: what the parent wrote with is dropped by the epoch, and its background threads are not here.
            unsafe { libc::close(fd) };
        }
        slot.fd.store(FREE, Ordering::Relaxed);
    }
}

/// Forgets all descriptors with this number that are of this file, which is about to be closed, or is closed.
pub(crate) fn forget(fd: RawFd, identity: Identity) {
    for slot in &INHERITED {
        // The number may be that of another file of ours by now, which stays.
        let is_same = slot.fd.load(Ordering::Acquire) == fd
            && slot.device.load(Ordering::Relaxed) == identity.device
            && slot.inode.load(Ordering::Relaxed) == identity.inode;
        if is_same {
            let _ = slot.fd.compare_exchange(fd, FREE, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}
