//! What a registry checks and limits when families are registered.

/// Whether registration rejects what the lint rules report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Lint {
    #[default]
    Off,
    On,
}

/// Applies to all families of a registry.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Policy {
    pub(crate) lint: Lint,
    /// The most series of each family that has no limit of its own.
    pub(crate) max_series: Option<usize>,
}
