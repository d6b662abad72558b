//! Directories that `run` creates, their owner and permissions.
//!
//! A server that starts as root and drops privileges needs a directory that belongs to the user of its
//! workers.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown,
};
use std::path::Path;
use std::str::FromStr;

use super::values::octal;
use crate::error::{Error, ErrorKind, Result};
use crate::file::sys;

const OWNER_ONLY: u32 = 0o700;
/// Permissions of parent directories that other users must be able to enter.
const ENTERED_BY_ALL: u32 = 0o755;
const PERMISSION_BITS: u32 = 0o7777;

/// The owner of a directory, parsed from `USER[:GROUP]` with names or ids. Without a group, a user name implies
/// the primary group of the user, and a user id leaves the group unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DirOwner {
    pub(super) user: u32,
    group: Option<u32>,
    text: String,
}

impl FromStr for DirOwner {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<DirOwner, String> {
        let (user_name, group_name) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let (user, primary) = match parse_id(user_name) {
            Some(user) => (user, None),
            None => {
                let found = sys::find_user(user_name).map_err(|error| error.to_string())?;
                let (user, group) =
                    found.ok_or_else(|| format!("there is no user `{user_name}`"))?;
                (user, Some(group))
            }
        };
        let group = match group_name {
            None => primary,
            Some(name) => Some(match parse_id(name) {
                Some(group) => group,
                None => sys::find_group(name)
                    .map_err(|error| error.to_string())?
                    .ok_or_else(|| format!("there is no group `{name}`"))?,
            }),
        };
        Ok(DirOwner { user, group, text: text.to_owned() })
    }
}

/// `u32::MAX` is not an id: chown(2) takes it as "unchanged".
fn parse_id(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|id| is_number && *id != u32::MAX)
}

/// Parses permissions in octal, as chmod(1) does. They must include all permissions of the owner.
pub(super) fn parse_permissions(text: &str) -> std::result::Result<u32, String> {
    let mode = octal(text, PERMISSION_BITS);
    let mode = mode.ok_or("expected permissions in octal, such as 0770")?;
    if mode & OWNER_ONLY == OWNER_ONLY {
        Ok(mode)
    } else {
        Err("the owner must be able to read, write and enter the directory".to_owned())
    }
}

/// Owner and permissions of a directory that is created; by default only its creator may use it.
#[derive(Clone, Debug, Default)]
pub(super) struct NewDir {
    pub(super) owner: Option<DirOwner>,
    pub(super) mode: Option<u32>,
}

impl NewDir {
    fn is_default(&self) -> bool {
        self.owner.is_none() && self.mode.is_none()
    }

    /// Creates a directory and its parents. A directory that exists must already have this owner and mode.
    pub(super) fn create(&self, dir: &Path) -> Result<()> {
        let failed = |error: io::Error| Error::at(ErrorKind::Directory, dir, error);
        let parent_mode = if self.is_default() { OWNER_ONLY } else { ENTERED_BY_ALL };
        create_parents(dir, parent_mode).map_err(failed)?;
        match create_one(dir, OWNER_ONLY) {
            Ok(()) => self.apply(dir),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {
                self.check(dir)
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn apply(&self, dir: &Path) -> Result<()> {
        let remove = |error: Error| {
            // OK because an empty directory that stays has no effect.
            let _ = fs::remove_dir(dir);
            error
        };
        let failed = |error: io::Error| Error::at(ErrorKind::Directory, dir, error);
        let handle = open_directory(dir).map_err(failed).map_err(remove)?;
        if let Some(mode) = self.mode {
            let permissions = Permissions::from_mode(mode);
            handle.set_permissions(permissions).map_err(failed).map_err(remove)?;
        }
        if let Some(owner) = &self.owner {
            // Last, as a process without privileges cannot change permissions after it.
            let refuse = |error: io::Error| {
                let message = format!(
                    "cannot set the owner `{}` of --dir-owner, which needs root: {error}",
                    owner.text
                );
                Error::at(ErrorKind::Directory, dir, message)
            };
            fchown(&handle, Some(owner.user), owner.group).map_err(refuse).map_err(remove)?;
        }
        Ok(())
    }

    fn check(&self, dir: &Path) -> Result<()> {
        let metadata = dir.metadata();
        let metadata = metadata.map_err(|error| Error::at(ErrorKind::Directory, dir, error))?;
        let (user, group, mode) =
            (metadata.uid(), metadata.gid(), metadata.mode() & PERMISSION_BITS);
        let has_owner = self.owner.as_ref().is_none_or(|owner| {
            owner.user == user && owner.group.is_none_or(|wanted| wanted == group)
        });
        if has_owner && self.mode.is_none_or(|wanted| wanted == mode) {
            return Ok(());
        }
        let message = format!(
            "exists with owner {user}:{group} and mode {mode:03o}, and --dir-owner and --dir-mode are for a \
             directory that `run` creates: remove it, or change it by chown and chmod"
        );
        Err(Error::at(ErrorKind::Directory, dir, message))
    }
}

/// Creates the parents that are missing.
fn create_parents(dir: &Path, mode: u32) -> io::Result<()> {
    let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return Ok(());
    };
    if parent.is_dir() {
        return Ok(());
    }
    create_parents(parent, mode)?;
    match create_one(parent, mode) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && parent.is_dir() => Ok(()),
        Err(error) => Err(error),
        // The umask of this process may have removed permissions that other users need.
        Ok(()) if mode != OWNER_ONLY => {
            open_directory(parent)?.set_permissions(Permissions::from_mode(mode))
        }
        Ok(()) => Ok(()),
    }
}

fn create_one(dir: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().mode(mode).create(dir)
}

/// Opens a directory without following a symbolic link.
pub(super) fn open_directory(dir: &Path) -> io::Result<File> {
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(flags).open(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_parsed_from_names_and_from_ids() {
        let owner = |text: &str| text.parse::<DirOwner>().map(|owner| (owner.user, owner.group));
        assert_eq!(owner("root").unwrap(), (0, Some(0)));
        assert_eq!(owner("root:7").unwrap(), (0, Some(7)));
        assert_eq!(owner("7:root").unwrap(), (7, Some(0)));
        assert_eq!(owner("1000").unwrap(), (1000, None));
        for bad in ["", ":", "root:", ":root", "no user", "root:no group", "+7", "4294967295"] {
            assert!(owner(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn modes_are_octal_and_include_the_permissions_of_the_owner() {
        assert_eq!(parse_permissions("700"), Ok(0o700));
        assert_eq!(parse_permissions("01777"), Ok(0o1777));
        for bad in ["", "0", "77", "070", "0o700", "+700", "800", "10700", "u=rwx"] {
            assert!(parse_permissions(bad).is_err(), "{bad}");
        }
    }
}
