//! The default registry, which statics register with.

use super::{Backend, Registry};
use crate::error::{Error, ErrorKind, Result};
use crate::logging::log_line;
use crate::model::LabelSet;
use crate::model::own_metrics::{OwnCounters, REGISTRATION_ERRORS};
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
    let new = Registry::from_parts(None, LabelSet::default(), backend, true);
    let new = Box::leak(Box::new(new));
    if std::ptr::eq(DEFAULT.set_once(new), new) { Ok(()) } else { Err(chosen()) }
}

fn install(backend: Backend) -> &'static Registry {
    let new = Registry::from_parts(None, LabelSet::default(), backend, true);
    DEFAULT.set_once(Box::leak(Box::new(new)))
}

/// Why a static is not registered: the index of a value of the label `reason` of `multiprom_registration_errors_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RegistrationFailure {
    Name,
    Labels,
    Collision,
    Backend,
}

static FAILED: OwnCounters<{ REGISTRATION_ERRORS.values().len() }> = OwnCounters::new();

/// Tells that a static records into memory of its own: once per static, as it does not try again.
pub(crate) fn registration_failed(name: &str, error: &Error) {
    let failure = match error.kind() {
        ErrorKind::InvalidName => RegistrationFailure::Name,
        ErrorKind::InvalidLabels | ErrorKind::InvalidBuckets => RegistrationFailure::Labels,
        ErrorKind::AlreadyRegistered => RegistrationFailure::Collision,
        _ => RegistrationFailure::Backend,
    };
    FAILED.add(failure as usize, 1);
    log_line(&format_args!("metric `{name}` is not exported: {error:#}"));
}

pub(super) fn registration_errors() -> impl Iterator<Item = u64> {
    FAILED.counts()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_the_label_value_of_its_name() {
        let failures = [
            RegistrationFailure::Name,
            RegistrationFailure::Labels,
            RegistrationFailure::Collision,
            RegistrationFailure::Backend,
        ];
        let values = failures.map(|failure| REGISTRATION_ERRORS.values()[failure as usize]);
        assert_eq!(values, ["name", "labels", "collision", "backend"]);
        assert_eq!(REGISTRATION_ERRORS.values().len(), failures.len());
    }
}
