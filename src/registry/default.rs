//! The default registry, which statics register with.

use super::backend::Backend;
use super::core::Registry;
use crate::error::{Error, ErrorKind, Result};
use crate::model::LabelSet;
use crate::store::fork::StaticRef;

static DEFAULT: StaticRef<Registry> = StaticRef::empty();

/// The registry of all statics.
///
/// Its backend is chosen at the first call: by [`set_default_backend`] before it, else by the
/// environment.
pub fn default_registry() -> &'static Registry {
    DEFAULT.get().unwrap_or_else(|| install(Backend::environment()))
}

/// Chooses the backend of the default registry, before its first use.
///
/// # Errors
///
/// Of kind [`BackendChosen`](ErrorKind::BackendChosen) where the registry was used before.
pub fn set_default_backend(backend: Backend) -> Result<()> {
    let chosen = || Error::new(ErrorKind::BackendChosen, "the default registry is in use already");
    if DEFAULT.get().is_some() {
        return Err(chosen());
    }
    let new = Registry::from_parts(None, LabelSet::default(), backend, true);
    let new = Box::leak(Box::new(new));
    if std::ptr::eq(DEFAULT.set_once(new), new) { Ok(()) } else { Err(chosen()) }
}

fn install(backend: Backend) -> &'static Registry {
    let new = Registry::from_parts(None, LabelSet::default(), backend, true);
    DEFAULT.set_once(Box::leak(Box::new(new)))
}
