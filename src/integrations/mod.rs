//! Registries of other client libraries as collectors.
//!
//! A dependency that records with the crate `prometheus` or `prometheus-client` shows its metrics on the same page as those of
//! the program: a collector over its registry is registered like any other.
//!
//! | collector | feature | registry |
//! |---|---|---|
//! | `PrometheusCollector` | `prometheus` | `prometheus::Registry` of version 0.14, also the default one |
//! | `PrometheusClientCollector` | `prometheus-client` | `prometheus_client::registry::Registry` of version 0.25 |
//!
//! In a multiprocess directory the metrics of each process are merged as those of any [`Collector`](crate::Collector): totals are
//! added up, and gauges have a series for each live process unless [`MergedBy`](crate::collector::MergedBy) states another rule.
//! Values are as old as the last refresh, and exemplars and timestamps are not merged.
//!
//! Both encode the registry to text, as the other client would for a scrape, and parse that text. The internal models are no
//! alternative: that of `prometheus` has other methods with its feature `protobuf` than without, which another crate of the
//! program may enable, and `prometheus-client` has a private encoder trait; its protobuf form needs `protoc` to
//! build. Names, types, help texts, units, exemplars and timestamps arrive as the other client exposes them, with one
//! difference: the samples of a counter always end in `_total`.

mod page;
#[cfg(feature = "prometheus")]
mod prometheus;
#[cfg(feature = "prometheus-client")]
mod prometheus_client;

#[cfg(feature = "prometheus")]
pub use self::prometheus::PrometheusCollector;
#[cfg(feature = "prometheus-client")]
pub use self::prometheus_client::PrometheusClientCollector;
