//! Resource limits of this process, and the page size.
#![expect(unsafe_code, reason = "system calls")]

/// Returns how many files this process may have open.
pub(crate) fn descriptor_limit() -> usize {
    limits(libc::RLIMIT_NOFILE).map_or(0, |limits| limits.rlim_cur as usize)
}

/// Raises the limit of open files as far as allowed. Not for programs that start others, which may rely on the limit.
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "used by exporters"))]
pub(crate) fn raise_descriptor_limit() {
    if let Some(limits) = limits(libc::RLIMIT_NOFILE) {
        let limits = libc::rlimit { rlim_cur: limits.rlim_max, ..limits };
        // OK because the limit stays as it is on failure.
        // SAFETY: the structure is valid.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limits) };
    }
}

#[cfg(target_env = "musl")]
type Resource = libc::c_int;
#[cfg(not(target_env = "musl"))]
type Resource = libc::__rlimit_resource_t;

/// Returns the soft and the hard limit of a resource.
fn limits(resource: Resource) -> Option<libc::rlimit> {
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is valid and writable.
    let result = unsafe { libc::getrlimit(resource, &raw mut limits) };
    (result == 0).then_some(limits)
}

/// Whether the address space of this process is limited. See: getrlimit(2), RLIMIT_AS.
pub(crate) fn is_address_space_limited() -> bool {
    limits(libc::RLIMIT_AS).is_some_and(|limits| limits.rlim_cur != libc::RLIM_INFINITY)
}

/// Returns the page size.
pub(crate) fn page_len() -> usize {
    // SAFETY: takes an integer only.
    let len = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    // OK because the call does not fail for the page size.
    usize::try_from(len).unwrap_or(MIN_PAGE_LEN)
}

/// Returns how many clock ticks a second has in files of procfs.
pub(crate) fn clock_ticks() -> f64 {
    // SAFETY: takes an integer only.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    // OK because all architectures of this backend have 100; the call does not fail.
    if ticks > 0 { ticks as f64 } else { 100.0 }
}

/// The smallest page size of the processors that this backend is built for.
const MIN_PAGE_LEN: usize = 4096;
