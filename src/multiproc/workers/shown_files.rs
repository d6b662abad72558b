//! Which files procfs shows a process to have mapped or open for writing. Exporters have them mapped for reading.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::file::sys::Identity;

/// The files among `wanted` that a process has mapped or open for writing, as indices, possibly repeated.
///
/// The `maps` of a process are read first: a line names device and inode, so no file is touched. btrfs and overlayfs show
/// another device there than `stat` returns, so for an equal inode the file is asked through `map_files`. Descriptors are
/// read only if mappings do not show the file: a process of the Python client may be about to map it.
///
/// # Errors
///
/// If neither mappings nor descriptors can be read.
pub(super) fn shown_files(process: &Path, wanted: &[Identity]) -> io::Result<Vec<usize>> {
    let mut shown = Vec::new();
    let maps = mapped(process, wanted, &mut shown);
    if !shown.is_empty() {
        return Ok(shown);
    }
    match (maps, opened(process, wanted, &mut shown)) {
        (Err(error), Err(_)) => Err(error),
        _ => Ok(shown),
    }
}

fn mapped(process: &Path, wanted: &[Identity], shown: &mut Vec<usize>) -> io::Result<()> {
    let maps = fs::read(process.join("maps"))?;
    for mapping in maps.split(|byte| *byte == b'\n').filter_map(Mapping::parse) {
        for (at, file) in wanted.iter().enumerate() {
            if file.inode != mapping.inode {
                continue;
            }
            let is_it = file.device == mapping.device || {
                let path = process.join("map_files").join(mapping.range);
                identity(&path) == Some(*file)
            };
            if is_it {
                shown.push(at);
            }
        }
    }
    Ok(())
}

/// A line of `maps` about a shared, writable mapping of a file. See: proc_pid_maps(5).
#[derive(Debug, PartialEq)]
struct Mapping<'a> {
    /// The addresses, as they name the file in `map_files`.
    range: &'a str,
    device: u64,
    inode: u64,
}

impl Mapping<'_> {
    fn parse(line: &[u8]) -> Option<Mapping<'_>> {
        // The path at the end may contain any bytes.
        let mut fields = line.splitn(6, |byte| *byte == b' ').map(str::from_utf8);
        let range = fields.next()?.ok()?;
        fields.next()?.ok().filter(|access| access.contains('w') && access.ends_with('s'))?;
        let (device, inode) = (fields.nth(1)?.ok()?, fields.next()?.ok()?);
        let (major, minor) = device.split_once(':')?;
        let number = |text| u32::from_str_radix(text, 16).ok();
        let device = libc::makedev(number(major)?, number(minor)?);
        Some(Mapping { range, device, inode: inode.parse().ok().filter(|inode| *inode != 0)? })
    }
}

fn opened(process: &Path, wanted: &[Identity], shown: &mut Vec<usize>) -> io::Result<()> {
    for entry in fs::read_dir(process.join("fd"))? {
        // OK because a descriptor that is closed meanwhile is not shown.
        let Ok(path) = entry.map(|entry| entry.path()) else { continue };
        // The owner's permission says whether the descriptor is for writing. See: proc_pid_fd(5).
        let is_writable = |link: Metadata| link.mode() & 0o200 != 0;
        // Other files are not touched, because a network file system may not respond.
        if fs::symlink_metadata(&path).is_ok_and(is_writable)
            && fs::read_link(&path).is_ok_and(|target| may_be_series_file(&target))
            && let Some(found) = identity(&path)
        {
            shown.extend(wanted.iter().position(|file| *file == found));
        }
    }
    Ok(())
}

/// Whether the target of a descriptor may be a series file. One that was created without a name is shown as `#` and its
/// inode, although it has a name now.
fn may_be_series_file(target: &Path) -> bool {
    let name = target.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with('#') || name.contains(".db")
}

fn identity(path: &Path) -> Option<Identity> {
    let metadata = fs::metadata(path).ok()?;
    Some(Identity { device: metadata.dev(), inode: metadata.ino() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;
    use std::fs::File;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_line_of_maps_names_addresses_device_and_inode() {
        let line = b"7f0000000000-7f0000001000 rw-s 00000000 fe:01 77    /dev/shm/a b (deleted)";
        let range = "7f0000000000-7f0000001000";
        let expected = Mapping { range, device: libc::makedev(0xfe, 1), inode: 77 };
        assert_eq!(Mapping::parse(line), Some(expected));
        for other in ["rw-s 0 00:00 0 [heap]", "rw-p 0 fe:01 77 /a", "r--s 0 fe:01 77 /a"] {
            assert_eq!(Mapping::parse(format!("7f00-7f01 {other}").as_bytes()), None);
        }
        for end in 0..40 {
            assert_eq!(Mapping::parse(&line[..end]), None, "{end}");
        }
        assert_eq!(Mapping::parse(b"a rw-s c \xff:1 7 "), None);
    }

    #[test]
    fn a_process_shows_the_files_that_it_has_open_for_writing() {
        let dir = TestDir::new();
        let open = File::create(dir.join("counter_7.db")).unwrap();
        let other = dir.join("counter_8.db");
        fs::write(&other, "").unwrap();
        let wanted = [identity(&other).unwrap(), identity(&dir.join("counter_7.db")).unwrap()];
        let process = Path::new("/proc/self");
        assert_eq!(shown_files(process, &wanted).unwrap(), [1]);
        drop(open);
        let _reading = File::open(dir.join("counter_7.db")).unwrap();
        assert_eq!(shown_files(process, &wanted).unwrap(), [0; 0]);
        assert!(shown_files(&dir.join("0"), &wanted).is_err());
    }

    #[test]
    fn a_mapping_with_another_device_is_compared_through_map_files() {
        let dir = TestDir::new();
        let file = dir.join("counter_7.db");
        fs::write(&file, "").unwrap();
        let wanted = [identity(&file).unwrap()];
        let process = dir.join("7");
        fs::create_dir_all(process.join("map_files")).unwrap();
        let maps = format!("10-20 rw-s 0 fff:fff {} /a\n", wanted[0].inode);
        fs::write(process.join("maps"), maps).unwrap();
        assert_eq!(shown_files(&process, &wanted).unwrap(), [0; 0]);
        symlink(&file, process.join("map_files/10-20")).unwrap();
        assert_eq!(shown_files(&process, &wanted).unwrap(), [0]);
    }
}
