//! Reservation of space for a file.
#![expect(unsafe_code, reason = "system calls")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;

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
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut at = from;
    while at < to {
        let len = ZEROS.len().min((to - at) as usize);
        if let Err(error) = file.write_all_at(&ZEROS[..len], at) {
            // OK because readers ignore bytes beyond `used`.
            let _ = file.set_len(from);
            return Err(error);
        }
        at += len as u64;
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
