//! Reservation of space for a file.
#![expect(unsafe_code, reason = "system calls")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

use super::call::check;
use super::signals::TakenSignals;

/// Reserves the bytes from `from` to `to`, which no reader accesses yet, and sets the length of the file to `to`.
///
/// After success, stores to these bytes raise no signal on the supported file systems. On failure the
/// length is unchanged. The host does not receive SIGXFSZ, which a limit of the file size raises.
pub(crate) fn reserve(file: &File, from: u64, to: u64) -> io::Result<()> {
    let signals = TakenSignals::new(&[libc::SIGXFSZ])?;
    let reserved = match reserve_beyond_end(file, from, to) {
        Err(error) if lacks_reservation(&error) => write_zeros(file, from, to),
        result => result.and_then(|()| file.set_len(to)),
    };
    signals.restore();
    reserved
}

/// Reserves bytes without a change of the length.
///
/// NOTE: a plain fallocate that fails can leave the file longer. See: fallocate(2).
fn reserve_beyond_end(file: &File, from: u64, to: u64) -> io::Result<()> {
    // SAFETY: takes integers only.
    let result = unsafe {
        libc::fallocate(
            file.as_raw_fd(),
            libc::FALLOC_FL_KEEP_SIZE,
            from as libc::off_t,
            (to - from) as libc::off_t,
        )
    };
    check(result).map(drop)
}

/// Whether the kernel or file system does not support reservation: gVisor, ext4 without extents, overlayfs on them, or a
/// sandbox that denies the call.
fn lacks_reservation(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS))
}

/// Writes zeros, for which the file system must allocate space at once.
fn write_zeros(file: &File, from: u64, to: u64) -> io::Result<()> {
    let written = write_pages(file, from, to);
    if written.is_err() {
        // OK because readers ignore bytes beyond `used`.
        let _ = file.set_len(from);
    }
    written
}

/// Writes zeros to reserved bytes, which no reader accesses yet. Afterwards their pages have content, so that the kernel can
/// map several at a page fault.
pub(crate) fn fill(file: &File, from: u64, to: u64) -> io::Result<()> {
    let signals = TakenSignals::new(&[libc::SIGXFSZ])?;
    let filled = write_pages(file, from, to);
    signals.restore();
    filled
}

/// Writes zeros in steps of several pages.
fn write_pages(file: &File, from: u64, to: u64) -> io::Result<()> {
    static ZEROS: [u8; 4096] = [0; 4096];
    const PAGES: usize = 16;
    let page = libc::iovec { iov_base: ZEROS.as_ptr().cast_mut().cast(), iov_len: ZEROS.len() };
    let mut at = from;
    while at < to {
        let len = (to - at).min((PAGES * ZEROS.len()) as u64) as usize;
        let mut pages = [page; PAGES];
        let count = len.div_ceil(ZEROS.len());
        pages[count - 1].iov_len = len - (count - 1) * ZEROS.len();
        // SAFETY: the kernel reads `count` buffers, each of which lies within the zeros.
        let written = unsafe {
            libc::pwritev(file.as_raw_fd(), pages.as_ptr(), count as _, at as libc::off_t)
        };
        match written {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            1.. => at += written as u64,
            _ => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
    Ok(())
}

/// Makes btrfs overwrite a new file in place (`NOCOW`), without which a reservation does not hold there.
///
/// NOTE: works on empty files only. On other file systems the call fails, and is not needed.
pub(crate) fn write_in_place(file: &File) {
    const FS_NOCOW_FL: libc::c_int = 0x0080_0000;
    let mut flags: libc::c_int = 0;
    // SAFETY: reads the flags into an integer of the kernel's size.
    let read = unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_GETFLAGS, &raw mut flags) };
    if read == 0 {
        flags |= FS_NOCOW_FL;
        // SAFETY: the kernel reads one integer.
        unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_SETFLAGS, &raw const flags) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;

    #[test]
    fn zeros_are_written_to_the_bytes_of_a_range_only() {
        let dir = TestDir::new();
        let path = dir.join("file");
        for (from, to) in [(0, 0), (5, 6), (8, 4096), (4096, 8192), (100, 70_000), (8, 199_999)] {
            std::fs::write(&path, vec![b'x'; 200_000]).unwrap();
            fill(&File::options().write(true).open(&path).unwrap(), from, to).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            let is_zero = |at: usize| (from..to).contains(&(at as u64));
            let expected: Vec<u8> =
                (0..200_000).map(|at| if is_zero(at) { 0 } else { b'x' }).collect();
            assert!(bytes == expected, "{from} to {to}");
        }
    }
}
