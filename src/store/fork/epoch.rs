//! The epoch: a number that distinguishes a process from its ancestors and its children.
//!
//! It is in a page that the kernel wipes in forked children (`MADV_WIPEONFORK`), so a child reads 0 there, also after a raw
//! `clone`, and then draws an epoch of its own. An epoch is one more than every epoch that this process or an ancestor has
//! drawn before, so no descendant uses the epoch of an ancestor again.
//!
//! See: madvise(2), MADV_WIPEONFORK (Linux 4.14).
#![expect(unsafe_code, reason = "a page that the kernel wipes")]

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use super::tag::{AtomicTag, Tag};

/// The memory that the kernel wipes in a child.
#[repr(C, align(64))]
struct Page {
    /// 0 until this process has drawn its epoch.
    epoch: AtomicU64,
    /// The token of one thread each; 0 if the thread owns nothing. Written by that thread. See `thread`.
    owners: [AtomicTag; MAX_WORDS],
}

/// A process uses up to sixteen words, and its children use those after them.
const MAX_WORDS: usize = 2000;

impl Page {
    const fn new() -> Page {
        Page { epoch: AtomicU64::new(0), owners: [const { AtomicTag::new() }; MAX_WORDS] }
    }
}

/// Replaces the page until it is mapped. Its epoch stays 0, so nothing is current.
static NO_PAGE: Page = Page::new();

static PAGE: AtomicPtr<Page> = AtomicPtr::new((&raw const NO_PAGE).cast_mut());

/// The highest epoch that this process or an ancestor has drawn. Not wiped.
static LAST_EPOCH: AtomicU64 = AtomicU64::new(0);

#[inline]
fn page() -> &'static Page {
    // ORDERING: relaxed, as both pages hold only atomics that start at 0.
    let page = PAGE.load(Ordering::Relaxed);
    // SAFETY: points to `NO_PAGE` or to a page that is never unmapped and holds a valid `Page`.
    unsafe { &*page }
}

/// Returns the epoch of this process, or 0 if it has not drawn one yet.
#[inline]
pub(crate) fn seen_epoch() -> u64 {
    page().epoch.load(Ordering::Relaxed)
}

/// Returns a word for the token of a thread. It is 0 in a forked child.
pub(in crate::store) fn owner_word(index: usize) -> Option<&'static AtomicTag> {
    page().owners.get(index)
}

/// Returns the epoch of this process, which the first call draws.
pub(crate) fn epoch() -> u64 {
    let seen = seen_epoch();
    if seen != 0 {
        return seen;
    }
    if ptr::eq(page(), &raw const NO_PAGE) {
        map_page();
    }
    let drawn = LAST_EPOCH.fetch_add(1, Ordering::Relaxed) + 1;
    // If several threads draw, the first store wins.
    match page().epoch.compare_exchange(0, drawn, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => drawn,
        Err(other) => other,
    }
}

#[cfg(target_os = "linux")]
fn map_page() {
    let len = size_of::<Page>();
    // SAFETY: asks for new private memory; no existing mapping is touched.
    let address = unsafe {
        libc::mmap(
            ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return use_heap_page();
    }
    // SAFETY: the range is the mapping made above.
    let advised = unsafe { libc::madvise(address, len, libc::MADV_WIPEONFORK) };
    if advised != 0 {
        // SAFETY: as above; the address was not published.
        unsafe { libc::munmap(address, len) };
        return use_heap_page();
    }
    let claimed = publish_page(address.cast());
    if !claimed {
        // SAFETY: as above; the page was not published, as another thread's was.
        unsafe { libc::munmap(address, len) };
    }
}

#[cfg(not(target_os = "linux"))]
fn map_page() {
    use_heap_page();
}

/// Lets a fork handler of the C library wipe the page if the kernel cannot. A raw `clone` is then not detected.
fn use_heap_page() {
    let page = Box::into_raw(Box::new(Page::new()));
    if publish_page(page) {
        #[cfg(unix)]
        // SAFETY: the handler stores to an atomic, and is never unloaded.
        let _ = unsafe { libc::pthread_atfork(None, None, Some(wipe)) };
    } else {
        // SAFETY: from `Box::into_raw` above, and not published.
        drop(unsafe { Box::from_raw(page) });
    }
}

#[cfg(unix)]
extern "C" fn wipe() {
    page().epoch.store(0, Ordering::Relaxed);
    page().owners.iter().for_each(|owner| owner.store(Tag::new(0), Ordering::Relaxed));
}

fn publish_page(page: *mut Page) -> bool {
    let before = (&raw const NO_PAGE).cast_mut();
    PAGE.compare_exchange(before, page, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_stays_the_same_within_a_process() {
        let first = epoch();
        assert!(first > 0);
        assert_eq!(std::thread::spawn(epoch).join().unwrap(), first);
    }
}
