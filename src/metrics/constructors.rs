//! The constructors of all metric types.

use crate::model::name::NameRules;

use super::{Counter, Enum, Gauge, Histogram, Info, MetricBuilder, Static, Summary};

/// Implements the constructors of metric types.
macro_rules! impl_constructors {
    ($($type:ident: $a:literal),*) => {$(
        impl $type {
            #[doc = concat!("Declares ", $a, " as a [`Static`].")]
            ///
            /// # Panics
            ///
            #[doc = concat!(
                "If the name is not a metric name, which in a static fails the build. Use [`builder`](",
                stringify!($type),
                "::builder) for names that are known only at run time."
            )]
            pub const fn declare(name: &'static str, help: &'static str) -> Static<$type> {
                Static::new(name, help, NameRules::Classic)
            }

            #[doc = concat!("Declares ", $a, " whose name, and those of its labels, may be any text, as in Prometheus 3.")]
            /// See [`MetricBuilder::utf8_names`].
            ///
            /// # Panics
            ///
            /// If the name is empty, which in a static fails the build.
            pub const fn declare_utf8(name: &'static str, help: &'static str) -> Static<$type> {
                Static::new(name, help, NameRules::Utf8)
            }

            #[doc = concat!("Builds ", $a, " whose name is known only at run time.")]
            pub fn builder(
                name: impl Into<String>,
                help: impl Into<String>,
            ) -> MetricBuilder<$type> {
                MetricBuilder::new(name.into(), help.into())
            }
        }
    )*};
}

impl_constructors!(
    Counter: "a counter",
    Gauge: "a gauge",
    Histogram: "a histogram",
    Summary: "a summary",
    Info: "an info"
);

impl Enum {
    /// Declares an enum as a [`Static`]. The first state is the initial one.
    ///
    /// # Panics
    ///
    /// If the name is not a metric name, or if there are no states or a state is given twice, which in a static fails the
    /// build. Use [`builder`](Enum::builder) for names that are known only at run time.
    pub const fn declare(
        name: &'static str,
        help: &'static str,
        states: &'static [&'static str],
    ) -> Static<Enum> {
        Static::<Enum>::new(name, help, NameRules::Classic).states(states)
    }

    /// Builds an enum whose name or states are known only at run time. The first state is the initial one.
    pub fn builder(
        name: impl Into<String>,
        help: impl Into<String>,
        states: impl IntoIterator<Item = impl Into<String>>,
    ) -> MetricBuilder<Enum> {
        MetricBuilder::<Enum>::new(name.into(), help.into()).states(states)
    }
}
