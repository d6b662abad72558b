//! Files that are replaced atomically: a reader sees the previous or the new content, each complete.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, ErrorKind, Result};

/// Replaces a file by what `write` writes, with these permissions. Without `temporary_dir`, the temporary file is in the
/// directory of the file.
pub(crate) fn replace_file(
    path: &Path,
    temporary_dir: Option<&Path>,
    mode: u32,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<()> {
    let name = path.file_name().ok_or_else(|| {
        Error::at(ErrorKind::Usage, path, "the path of a file must end in a file name")
    })?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let dir = temporary_dir.or(parent).unwrap_or(Path::new("."));
    let (temporary, file) = TemporaryFile::create(dir, &name.to_string_lossy())?;
    temporary.fill(file, mode, write)?;
    temporary.rename(path)
}

/// A file that is removed on drop, unless it was renamed.
struct TemporaryFile(Option<PathBuf>);

impl TemporaryFile {
    /// Creates a file whose name no other process or thread uses.
    fn create(dir: &Path, name: &str) -> Result<(TemporaryFile, File)> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let (pid, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let path = dir.join(format!(".{name}.{pid}.{number}.tmp"));
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) => return Ok((TemporaryFile(Some(path)), file)),
                // A process with the same pid has been killed, or is in another pid namespace.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    let message = format!("cannot create the temporary file: {error}");
                    return Err(Error::at(ErrorKind::Io, path, message));
                }
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }

    fn fill(
        &self,
        mut file: File,
        mode: u32,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<()> {
        let written = write(&mut file)
            .and_then(|()| file.set_permissions(Permissions::from_mode(mode)))
            // NOTE: without this, a crash of the system may leave an empty file under the new name.
            .and_then(|()| file.sync_all());
        // The error of a collector is passed through unchanged.
        written.map_err(|error| {
            error.downcast::<Error>().unwrap_or_else(|error| {
                let message = format!("cannot write the temporary file: {error}");
                Error::at(ErrorKind::Io, self.path(), message)
            })
        })
    }

    fn rename(mut self, to: &Path) -> Result<()> {
        fs::rename(self.path(), to).map_err(|error| {
            let what = if error.kind() == io::ErrorKind::CrossesDevices {
                "the temporary directory is on another file system"
            } else {
                "cannot replace the file"
            };
            Error::at(ErrorKind::Io, to, format!("{what}: {error}"))
        })?;
        self.0 = None;
        Ok(())
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // OK because the error that ends the attempt is reported.
            let _ = fs::remove_file(path);
        }
    }
}
