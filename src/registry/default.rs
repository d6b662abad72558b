//! The default registry, which statics register with.

use super::backend::Backend;
use super::core::Registry;
use super::policy::Policy;
use crate::error::{Error, ErrorKind, Result};
use crate::model::OwnedLabels;
use crate::store::fork::StaticRef;

static DEFAULT: StaticRef<Registry> = StaticRef::empty();

/// The registry of all statics.
///
/// Its backend is chosen at its first use: by [`set_default_backend`] before it, else by the environment. Programs also
/// add their collectors and the registries of their libraries to it, so that [`render`](crate::render) shows them.
///
/// ```
/// use multiprom::{Counter, Static, default_registry};
///
/// static HITS: Static<Counter> = Counter::declare("hits_total", "Page hits.");
///
/// HITS.inc();
/// let rows = Counter::builder("rows_total", "Rows read.").register(default_registry())?;
/// rows.inc_by(2.0);
/// assert_eq!(default_registry().sample_value("rows_total", &[]), Some(2.0));
/// assert_eq!(
///     default_registry().render(None).to_string(),
///     "# HELP hits_total Page hits.\n\
///      ## TYPE hits_total counter\n\
///      hits_total 1\n\
///      ## HELP rows_total Rows read.\n\
///      ## TYPE rows_total counter\n\
///      rows_total 2\n"
/// );
/// # Ok::<(), multiprom::Error>(())
/// ```
pub fn default_registry() -> &'static Registry {
    DEFAULT.get().unwrap_or_else(|| install(Backend::environment()))
}

/// Chooses the backend of the default registry, before its first use.
///
/// ```
/// use multiprom::{Backend, Counter, ErrorKind, Static, set_default_backend};
///
/// static HITS: Static<Counter> = Counter::declare("hits_total", "Page hits.");
///
/// // In memory, whatever the environment says. `Backend::directory` chooses a directory.
/// set_default_backend(Backend::in_memory())?;
/// HITS.inc();
/// assert_eq!(
///     multiprom::render(None).to_string(),
///     "# HELP hits_total Page hits.\n\
///      ## TYPE hits_total counter\n\
///      hits_total 1\n"
/// );
/// let error = set_default_backend(Backend::in_memory()).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::BackendChosen);
/// # Ok::<(), multiprom::Error>(())
/// ```
///
/// # Errors
///
/// Of kind [`BackendChosen`](ErrorKind::BackendChosen) if the default registry has been used before.
pub fn set_default_backend(backend: Backend) -> Result<()> {
    let chosen = || Error::new(ErrorKind::BackendChosen, "the default registry is in use already");
    if DEFAULT.get().is_some() {
        return Err(chosen());
    }
    let new = Registry::from_parts(None, OwnedLabels::default(), backend, Policy::default(), true);
    let new = Box::leak(Box::new(new));
    if std::ptr::eq(DEFAULT.set_once(new), new) { Ok(()) } else { Err(chosen()) }
}

fn install(backend: Backend) -> &'static Registry {
    let new = Registry::from_parts(None, OwnedLabels::default(), backend, Policy::default(), true);
    DEFAULT.set_once(Box::leak(Box::new(new)))
}
