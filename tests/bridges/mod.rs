//! Bridges: textfiles with a real node_exporter, Graphite with a real carbon.

mod graphite;
mod textfile;
