//! The trait of sources of whole expositions.

use super::FamilySink;
use super::name_filter::NameFilter;

/// Runs collectors and writes their families to a sink, each family name at most once.
///
/// [`Registry`](crate::Registry) and [`Families`](crate::parse::Families) implement it. Programs may implement it too,
/// for a source that is encoded without a registry.
pub trait Gatherer {
    /// Writes all families to `out`.
    fn gather(&self, out: &mut dyn FamilySink);

    /// Writes the families and samples that have one of these names, such as `jobs`, `jobs_total` or `size_bytes_bucket`.
    /// The name of a family selects all its samples.
    ///
    /// The default gathers all families and omits the others.
    fn gather_names(&self, names: &[String], out: &mut dyn FamilySink) {
        self.gather(&mut NameFilter::new(out, names));
    }
}
