//! Programs that use other clients, each beside the same program with multiprom. They are one binary, as each takes seconds
//! to link; each file is a whole program.
//!
//! ```text
//! cargo run --example migrations prometheus-before
//! cargo run --example migrations prometheus-after
//! ```
#![allow(clippy::print_stdout, reason = "programs")]

mod prometheus_after;
mod prometheus_before;
mod prometheus_client_after;
mod prometheus_client_before;
mod python_after;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match std::env::args().nth(1).as_deref() {
        Some("prometheus-before") => prometheus_before::main(),
        Some("prometheus-after") => prometheus_after::main()?,
        Some("prometheus-client-before") => prometheus_client_before::main(),
        Some("prometheus-client-after") => prometheus_client_after::main()?,
        Some("python-after") => python_after::main()?,
        other => return Err(format!("no program `{}`", other.unwrap_or_default()).into()),
    }
    Ok(())
}
