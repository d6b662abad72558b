//! The default registry, which statics register with.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Backend, Registry};
use crate::error::{Error, ErrorKind, Result};
use crate::logging::log_line;
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

/// The label values of `multiprom_registration_errors_total`.
const REASONS: [&str; 4] = ["name", "labels", "collision", "backend"];

static FAILED: [AtomicU64; REASONS.len()] = [const { AtomicU64::new(0) }; REASONS.len()];

/// Tells that a static records into memory of its own: once per static, as it does not try again.
pub(crate) fn registration_failed(name: &str, error: &Error) {
    let at = match error.kind() {
        ErrorKind::InvalidName => 0,
        ErrorKind::InvalidLabels | ErrorKind::InvalidBuckets => 1,
        ErrorKind::AlreadyRegistered => 2,
        _ => 3,
    };
    FAILED[at].fetch_add(1, Ordering::Relaxed);
    log_line(&format_args!("metric `{name}` is not exported: {error:#}"));
}

pub(super) fn registration_errors() -> impl Iterator<Item = (&'static str, u64)> {
    REASONS.into_iter().zip(FAILED.iter().map(|count| count.load(Ordering::Relaxed)))
}
