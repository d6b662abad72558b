//! The `multiprom` command.

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    multiprom::cli::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(2)
}
