//! The instance id of this process, and counts of the forks in progress.
//!
//! Both are in a page that the kernel wipes in forked children, so that they are valid only in the process that set them,
//! also in fork handlers of the host that run in the child before those of this crate.
//!
//! See: madvise(2), MADV_WIPEONFORK.
#![expect(unsafe_code, reason = "a page that the kernel wipes")]

use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use memmap2::MmapOptions;

/// The content of the page. Forks and guards of other threads do not continue in a forked child.
#[repr(C)]
pub(super) struct ForkPage {
    /// The [`instance_id`]; 0 until it is drawn.
    process: AtomicU64,
    /// Forks in progress, except raw `clone` calls.
    pub(super) forks: AtomicU64,
    /// `NoFork` guards (see `forks`), including those that wait for forks to end.
    pub(super) no_forks: AtomicU64,
    /// How many forks have stopped waiting for a guard.
    pub(super) forced: AtomicU64,
}

/// Replaces the page until it is mapped, and on kernels that cannot wipe pages.
static UNWIPED: ForkPage = ForkPage {
    process: AtomicU64::new(0),
    forks: AtomicU64::new(0),
    no_forks: AtomicU64::new(0),
    forced: AtomicU64::new(0),
};

static FORK_PAGE: AtomicPtr<ForkPage> = AtomicPtr::new((&raw const UNWIPED).cast_mut());

/// Returns the page of this process.
pub(super) fn fork_page() -> &'static ForkPage {
    // ORDERING: acquire, to see the page as it was mapped.
    let page = FORK_PAGE.load(Ordering::Acquire);
    // SAFETY: points to `UNWIPED`, or to zeroed memory that is page-aligned, never unmapped and accessed as `ForkPage`
    // only. Zeros are a valid `ForkPage`.
    unsafe { &*page }
}

/// Maps the page. If that fails, a fork handler in the child must call [`wipe_unless_mapped`].
pub(super) fn map_page() {
    let Ok(page) = MmapOptions::new().len(size_of::<ForkPage>()).map_anon() else {
        return;
    };
    // Never unmapped after it is published.
    let mut page = ManuallyDrop::new(page);
    let address = page.as_mut_ptr();
    // SAFETY: the range is private anonymous memory, mapped above.
    let advised = unsafe { libc::madvise(address.cast(), page.len(), libc::MADV_WIPEONFORK) };
    if advised == 0 {
        // ORDERING: release, after the page was mapped.
        FORK_PAGE.store(address.cast(), Ordering::Release);
    } else {
        drop(ManuallyDrop::into_inner(page));
    }
}

/// Returns an id that distinguishes this process from its ancestors.
pub(crate) fn instance_id() -> u64 {
    /// The highest id that this process or an ancestor has drawn. Not wiped.
    static LAST: AtomicU64 = AtomicU64::new(0);
    let own = &fork_page().process;
    let seen = own.load(Ordering::Relaxed);
    if seen != 0 {
        return seen;
    }
    let drawn = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    match own.compare_exchange(0, drawn, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => drawn,
        Err(other) => other,
    }
}

/// Resets the counts in a child if the page is not mapped.
pub(super) fn wipe_unless_mapped() {
    let fork_page = fork_page();
    if ptr::eq(fork_page, &raw const UNWIPED) {
        fork_page.process.store(0, Ordering::Relaxed);
        fork_page.forks.store(0, Ordering::SeqCst);
        fork_page.no_forks.store(0, Ordering::SeqCst);
    }
}
