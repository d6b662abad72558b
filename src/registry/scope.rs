//! What the current thread gathers: the registries, and the directories that their collectors read.
//!
//! A sink cannot carry this, because filters and collectors of a program that wrap a sink would have to pass it on.

use std::cell::RefCell;
use std::ptr;

use crate::model::DirectoryId;
use crate::store::refresher::{self, RefreshGroup};

thread_local! {
    static SCOPES: RefCell<Vec<(RegistryId, Vec<DirectoryId>)>> = const { RefCell::new(Vec::new()) };

    /// The groups that were refreshed since the outermost registry was begun.
    static REFRESHED: RefCell<Vec<&'static RefreshGroup>> = const { RefCell::new(Vec::new()) };
}

/// The address of a registry.
type RegistryId = usize;

/// A registry is being gathered, until this is dropped.
pub(super) struct Scope(());

impl Scope {
    /// Begins to gather a registry whose collectors read these directories. `None` if this thread is gathering it
    /// already, because it contains itself.
    pub(super) fn begin(
        registry: RegistryId,
        directories: impl FnOnce() -> Vec<DirectoryId>,
    ) -> Option<Scope> {
        let is_gathered =
            SCOPES.with_borrow(|scopes| scopes.iter().any(|(outer, _)| *outer == registry));
        if is_gathered {
            return None;
        }
        let directories = directories();
        SCOPES.with_borrow_mut(|scopes| scopes.push((registry, directories)));
        Some(Scope(()))
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let is_outermost = SCOPES.with_borrow_mut(|scopes| {
            drop(scopes.pop());
            scopes.is_empty()
        });
        if is_outermost {
            REFRESHED.with_borrow_mut(Vec::clear);
        }
    }
}

/// Refreshes the values of a family before it is gathered. While this thread gathers a registry, a group is refreshed once.
pub(crate) fn refresh(group: &'static RefreshGroup) {
    let is_gathering = SCOPES.with_borrow(|scopes| !scopes.is_empty());
    let is_refreshed = is_gathering
        && REFRESHED.with_borrow_mut(|groups| {
            let is_known = groups.iter().any(|known| ptr::eq(*known, group));
            groups.extend((!is_known).then_some(group));
            is_known
        });
    if !is_refreshed {
        refresher::refresh(group);
    }
}

/// Whether a collector of a registry that this thread gathers reads a directory.
pub(super) fn reads(directory: &DirectoryId) -> bool {
    SCOPES.with_borrow(|scopes| scopes.iter().any(|(_, read)| read.contains(directory)))
}

/// Whether a collector of a registry that this thread gathers reads any directory.
pub(super) fn reads_any() -> bool {
    SCOPES.with_borrow(|scopes| scopes.iter().any(|(_, read)| !read.is_empty()))
}
