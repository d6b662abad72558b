//! The number of this process, and what is in progress in it.
//!
//! Both are in a page that the kernel wipes in forked children, so that they are valid only in the process that set them,
//! also in fork handlers of the host that run in the child before ours.
//!
//! See: madvise(2), MADV_WIPEONFORK.
#![expect(unsafe_code, reason = "a page that the kernel wipes")]

use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use memmap2::MmapOptions;

/// Forks and file creations in progress. Those of other threads do not continue in a forked child.
#[repr(C)]
pub(super) struct UnderWay {
    /// See [`number`]; 0 until it is drawn.
    process: AtomicU64,
    /// Forks that libc knows of.
    pub(super) forks: AtomicU64,
    /// File creations, including those that wait for forks to end.
    pub(super) creations: AtomicU64,
    /// Forks that stopped waiting for a creation.
    pub(super) forced: AtomicU64,
}

/// Replaces the page until it is mapped, and on kernels that wipe no pages.
static UNWIPED: UnderWay = UnderWay {
    process: AtomicU64::new(0),
    forks: AtomicU64::new(0),
    creations: AtomicU64::new(0),
    forced: AtomicU64::new(0),
};

static UNDER_WAY: AtomicPtr<UnderWay> = AtomicPtr::new((&raw const UNWIPED).cast_mut());

pub(super) fn under_way() -> &'static UnderWay {
    // ORDERING: acquire, after the page was mapped.
    let page = UNDER_WAY.load(Ordering::Acquire);
    // SAFETY: points to `UNWIPED`, or to zeroed memory that is aligned to a page, never unmapped and accessed in no
    // other way: zeros are a valid `UnderWay`.
    unsafe { &*page }
}

/// Maps the page. If that fails, a fork handler in the child must call [`wipe_unless_mapped`].
pub(super) fn map_page() {
    let Ok(page) = MmapOptions::new().len(size_of::<UnderWay>()).map_anon() else {
        return;
    };
    // Never unmapped once it is published.
    let mut page = ManuallyDrop::new(page);
    let address = page.as_mut_ptr();
    // SAFETY: the range is private anonymous memory, mapped above.
    let advised = unsafe { libc::madvise(address.cast(), page.len(), libc::MADV_WIPEONFORK) };
    if advised == 0 {
        UNDER_WAY.store(address.cast(), Ordering::Release);
    } else {
        drop(ManuallyDrop::into_inner(page));
    }
}

/// A number that identifies this process among its ancestors.
pub(crate) fn number() -> u64 {
    /// The highest number that this process or an ancestor has drawn. Not wiped.
    static LAST: AtomicU64 = AtomicU64::new(0);
    let own = &under_way().process;
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

/// Resets the counts in a child if no page is mapped.
pub(super) fn wipe_unless_mapped() {
    let under_way = under_way();
    if ptr::eq(under_way, &raw const UNWIPED) {
        under_way.process.store(0, Ordering::Relaxed);
        under_way.forks.store(0, Ordering::SeqCst);
        under_way.creations.store(0, Ordering::SeqCst);
    }
}
