//! A batch job that pushes its metrics to a Pushgateway when it ends, successful or not.
//!
//! usage: batch GATEWAY <ROWS

use std::error::Error;
use std::io;

use multiprom::push::{HttpTransport, Pusher};
use multiprom::{Counter, Gauge, Registry};

fn main() -> Result<(), Box<dyn Error>> {
    let gateway = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9091".to_owned());
    let registry = Registry::new();
    let rows =
        Counter::builder("backup_rows_total", "Rows that were copied.").register(&registry)?;
    let duration = Gauge::builder("backup_duration_seconds", "Duration of the last backup.");
    let duration = duration.register(&registry)?;
    let pusher = Pusher::builder(&gateway, "backup")
        .grouping("database", "orders")
        .transport(HttpTransport::new().redirects(2))
        .build()?;

    let timer = duration.start_timer();
    let result = back_up(rows);
    drop(timer);
    if result.is_ok() {
        let success = "backup_last_success_timestamp_seconds";
        Gauge::builder(success, "Time of the last success.")
            .register(&registry)?
            .set_to_current_time();
    }
    // Families that are not pushed stay, so a failed run keeps the time of the last success.
    pusher.push_add(&registry)?;
    Ok(result?)
}

/// Copies the rows of the standard input.
fn back_up(rows: Counter) -> io::Result<()> {
    for row in io::stdin().lines() {
        row?;
        rows.inc();
    }
    Ok(())
}
