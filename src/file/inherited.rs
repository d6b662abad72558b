//! Descriptors that forked children close.
//!
//! If a child kept the lock of its parent's series files or its sockets, the parent would seem alive and the
//! port would stay taken for as long as the child lives. So a fork handler in the child closes the descriptors in a fixed
//! table, as it may neither allocate nor take a lock. It does not unlock or shut down, which would act on the
//! parent's lock or connection. A raw `clone` runs no handler.
#![expect(unsafe_code, reason = "close of a descriptor number")]

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use super::process;
use super::sys::{self, Identity};

/// A descriptor that forked children close. Only the thread that has claimed a slot writes it.
struct Inherited {
    /// The descriptor, [`FREE`] or [`CLAIMED`].
    fd: AtomicI32,
    device: AtomicU64,
    inode: AtomicU64,
    /// The instance id of the process that opened the descriptor.
    process: AtomicU64,
}

/// The most descriptors. A process has up to 17 series files and a companion for each directory that it writes to, and an
/// exporter up to 256 connections.
const MAX_INHERITED: usize = 1536;

static INHERITED: [Inherited; MAX_INHERITED] = [const {
    Inherited {
        fd: AtomicI32::new(FREE),
        device: AtomicU64::new(0),
        inode: AtomicU64::new(0),
        process: AtomicU64::new(0),
    }
}; MAX_INHERITED];

/// The `fd` of a free slot.
const FREE: RawFd = -1;
/// The `fd` of a slot that is being filled.
const CLAIMED: RawFd = -2;

/// The slot of a descriptor in the table.
#[derive(Debug)]
pub(crate) struct Slot {
    index: usize,
    fd: RawFd,
}

/// Makes children that are forked from now on close `fd`, if it is still the same file.
///
/// If all slots are taken, the children keep it. No fork may be in progress between the opening of the descriptor
/// and this call, nor between its closing and [`forget`]: the kernel copies the descriptors before the
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
            slot.process.store(process::instance_id(), Ordering::Relaxed);
            // ORDERING: release, so that a child that sees the descriptor sees the identity.
            slot.fd.store(fd, Ordering::Release);
            return Some(Slot { index, fd });
        }
    }
    None
}

/// Removes a closed descriptor from the table. Other descriptors of the same file stay.
pub(crate) fn forget_slot(slot: &Slot) {
    if let Some(entry) = INHERITED.get(slot.index) {
        let _ = entry.fd.compare_exchange(slot.fd, FREE, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Closes inherited descriptors. Runs in the child after each fork, where only async-signal-safe calls are allowed.
///
/// Keeps descriptors that the child has opened itself, in a fork handler of the host that ran before.
pub(super) fn close_all() {
    let process = process::instance_id();
    for slot in &INHERITED {
        let fd = slot.fd.load(Ordering::Acquire);
        if fd == FREE {
            // Not stored again, as a store would make the child copy the page.
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
            // SAFETY: the descriptor still is the inherited copy of that file, and this process does not use it: the
            // epoch invalidates the parent's writers, and its background threads do not exist here.
            unsafe { libc::close(fd) };
        }
        slot.fd.store(FREE, Ordering::Relaxed);
    }
}

/// Removes a descriptor of a file from the table.
pub(crate) fn forget(fd: RawFd, identity: Identity) {
    for slot in &INHERITED {
        // The number may now belong to another file in the table, which stays.
        let is_same = slot.fd.load(Ordering::Acquire) == fd
            && slot.device.load(Ordering::Relaxed) == identity.device
            && slot.inode.load(Ordering::Relaxed) == identity.inode;
        if is_same {
            let _ = slot.fd.compare_exchange(fd, FREE, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}
