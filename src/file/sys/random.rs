//! Random numbers from the kernel.
#![expect(unsafe_code, reason = "system calls")]

use std::io;

/// Returns random bits from the kernel.
pub(crate) fn random_u32() -> io::Result<u32> {
    let mut bytes = [0u8; 4];
    // SAFETY: the buffer has the given length.
    let result = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if result == bytes.len() as isize {
        Ok(u32::from_le_bytes(bytes))
    } else {
        Err(io::Error::last_os_error())
    }
}
