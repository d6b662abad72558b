//! What a store and a series know of each other.

use super::gate::Gate;
use crate::file::SampleCells;

/// The cells of a series.
pub struct Opened {
    /// One for each sample.
    pub(crate) cells: Vec<SampleCells>,
    /// The gate that recordings pass while the series waits.
    pub(crate) gate: Option<&'static Gate>,
}

/// What the companion file has of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttributeKind {
    Unit,
    Type,
}

/// A series whose cells can be replaced.
pub(crate) trait Rebind: Sync {
    /// Forgets the cells; the next recording opens new ones. Called under the lock of the slow path.
    fn unbind(&self);
}
