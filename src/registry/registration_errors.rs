//! Statics that could not be registered.

use crate::error::{Error, ErrorKind};
use crate::logging::log_line;
use crate::model::own_metrics::{OwnCounters, REGISTRATION_ERRORS};

/// Why a static is not registered: the index of a value of the label `reason` of `multiprom_registration_errors_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RegistrationFailure {
    Name,
    Labels,
    Collision,
    Backend,
}

static FAILED: OwnCounters<{ REGISTRATION_ERRORS.values().len() }> = OwnCounters::new();

/// Logs and counts that a static could not be registered and records into memory of its own. A static tries once.
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

/// The counts of `multiprom_registration_errors_total`, in the order of its label values.
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
