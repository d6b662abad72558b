//! Removal of many series of a family at once.

use std::time::Duration;

use super::core::SplitTyped;
use super::family::{Family, OpenFamily, TypedFamily};
use super::{Counter, Histogram, Metric, Summary};
use crate::model::Labels;

/// A metric type whose series only grow, so that idle ones can be found: [`Counter`], [`Histogram`] or [`Summary`].
///
/// Sealed, as [`Metric`] is.
///
/// ```compile_fail
/// use multiprom::{Backend, Gauge, Registry};
///
/// let registry = Registry::builder().backend(Backend::in_memory()).build().unwrap();
/// let level = Gauge::builder("level", "Level.").labels(["at"]).register(&registry).unwrap();
/// level.remove_idle(std::time::Duration::ZERO);
/// ```
#[diagnostic::on_unimplemented(
    message = "series of `{Self}` are never idle",
    note = "a gauge that is set again and again to one value does not change; remove it by `remove_matching` or `remove_where`"
)]
pub trait Cumulative: Metric + SplitTyped {}

impl Cumulative for Counter {}
impl Cumulative for Histogram {}
impl Cumulative for Summary {}

macro_rules! impl_removal {
    ($type:ident, [$($generics:tt)*], [$($arguments:tt)*]) => {
        impl<M: Metric, $($generics)*> $type<M, $($arguments)*> {
            /// Removes the series that have all of these labels from the exposition, each as
            /// [`Family::remove`](crate::Family::remove) does. Returns how many of them were exported.
            ///
            /// Labels are in any order, and constant labels count as well. A name that is not a label of the family matches no
            /// series; no labels at all match all series.
            ///
            /// ```
            /// use multiprom::{Backend, Counter, Registry};
            ///
            /// let registry = Registry::builder().backend(Backend::in_memory()).build()?;
            /// let jobs =
            ///     Counter::builder("jobs", "Jobs.").labels(["tenant", "kind"]).register(&registry)?;
            /// jobs.with(["a", "mail"]).inc();
            /// jobs.with(["a", "print"]).inc();
            /// jobs.with(["b", "mail"]).inc();
            /// assert_eq!(jobs.remove_matching(&[("tenant", "a")]), 2);
            /// assert_eq!(jobs.remove_where(|labels| labels.get("kind") == Some("mail")), 1);
            /// # Ok::<(), multiprom::Error>(())
            /// ```
            pub fn remove_matching(&self, labels: &[(&str, &str)]) -> usize {
                self.core().remove_matching(labels)
            }

            /// Removes the series for whose labels `is_removed` returns `true`, each as
            /// [`Family::remove`](crate::Family::remove) does. Returns how many of them were exported.
            ///
            /// The function is called once for each series that exists when the call begins. It may record and look series up,
            /// because no lock is held.
            pub fn remove_where(&self, is_removed: impl FnMut(Labels<'_>) -> bool) -> usize {
                self.core().remove_where(is_removed)
            }
        }

        impl<M: Cumulative, $($generics)*> $type<M, $($arguments)*> {
            /// Removes the series into which this process has recorded nothing for at least `idle`, each as
            /// [`Family::remove`](crate::Family::remove) does. Returns how many of them were exported.
            ///
            /// Recordings take no time stamps, so that they cost nothing more. A call compares the values of all series with
            /// those of the calls before: a series is idle since the first call that found its present value. So call it
            /// regularly, several times in the time `idle`; the first call in a process removes nothing, and a series stays
            /// for up to the time between two calls longer. Additions of 0 do not count as recordings. Series of
            /// [functions](crate::Counter::set_function) stay.
            ///
            /// Handles of a removed series record nothing: look series of such a family up at each use.
            ///
            /// ```
            /// use std::time::Duration;
            ///
            /// use multiprom::{Backend, Counter, Registry};
            ///
            /// let registry = Registry::builder().backend(Backend::in_memory()).build()?;
            /// let jobs = Counter::builder("jobs", "Jobs.").labels(["tenant"]).register(&registry)?;
            /// jobs.with(["a"]).inc();
            /// jobs.with(["b"]).inc();
            /// assert_eq!(jobs.remove_idle(Duration::ZERO), 0);
            /// jobs.with(["b"]).inc();
            /// assert_eq!(jobs.remove_idle(Duration::ZERO), 1);
            /// assert_eq!(registry.sample_value("jobs_total", &[("tenant", "a")]), None);
            /// assert_eq!(registry.sample_value("jobs_total", &[("tenant", "b")]), Some(2.0));
            /// # Ok::<(), multiprom::Error>(())
            /// ```
            pub fn remove_idle(&self, idle: Duration) -> usize {
                self.core().remove_idle(idle)
            }
        }
    };
}

impl_removal!(Family, [const N: usize], [N]);
impl_removal!(TypedFamily, [L: 'static], [L]);
impl_removal!(OpenFamily, [], []);
