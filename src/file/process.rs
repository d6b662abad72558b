//! This process, distinguished from the one that forked it also where a handler of the host runs in the child first.
//!
//! The counts of forks and creations that are in progress are trusted only in the process that set them. They are in a
//! page that the kernel wipes in forked children.
//!
//! See: madvise(2), MADV_WIPEONFORK.
#![expect(unsafe_code, reason = "a page that the kernel wipes")]

use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use memmap2::MmapOptions;

/// What goes on in this process.
///
/// In a page that the kernel wipes in a forked child, where the forks and creations of other threads do not go on.
/// Handlers of the host may run in the child before ours, and find it wiped already.
#[repr(C)]
pub(super) struct UnderWay {
    /// Tells this process from its ancestors and its children; 0 until it is asked for.
    process: AtomicU64,
    /// Forks, as far as libc knows.
    pub(super) forks: AtomicU64,
    /// Creations of files, and those that wait for forks to end.
    pub(super) creations: AtomicU64,
    /// Forks that did not wait for the end of a creation.
    pub(super) forced: AtomicU64,
}

/// Stands in for the page until it is mapped, and where the kernel wipes none.
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

/// Maps the page. Where that fails a handler in the child has to call [`wipe_unless_mapped`].
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

/// The number of this process, which none of its ancestors has.
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

/// Does in a child what the kernel does to the page, if there is none.
pub(super) fn wipe_unless_mapped() {
    let under_way = under_way();
    if ptr::eq(under_way, &raw const UNWIPED) {
        under_way.process.store(0, Ordering::Relaxed);
        under_way.forks.store(0, Ordering::SeqCst);
        under_way.creations.store(0, Ordering::SeqCst);
    }
}
