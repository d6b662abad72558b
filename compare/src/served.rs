//! A running `multiprom serve`.

use std::io::{self, BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::clocks;
use crate::http::Connection;
use crate::programs::Programs;

/// Pause after a response, until the server has finished the connection's work.
const SETTLE: Duration = Duration::from_millis(20);

/// Request headers for the text format.
pub const TEXT: &str = "Accept: text/plain;version=0.0.4\r\n";
pub const TEXT_GZIP: &str = "Accept: text/plain;version=0.0.4\r\nAccept-Encoding: gzip\r\n";

/// The server process, killed on drop.
pub struct Served {
    child: Child,
    pub address: String,
    /// Kept open, so that writes of the server do not fail.
    stderr: BufReader<ChildStderr>,
}

impl Served {
    /// Serves a directory, without compaction.
    pub fn start(programs: &Programs, dir: &Path) -> io::Result<Served> {
        Served::start_with(programs, dir, &[])
    }

    /// Like [`start`](Self::start), with additional environment variables.
    pub fn start_with(
        programs: &Programs,
        dir: &Path,
        variables: &[(&str, &str)],
    ) -> io::Result<Served> {
        let mut command = Command::new(&programs.multiprom);
        command.args(["serve", "--listen", "127.0.0.1:0", "--compact=off", "--dir"]).arg(dir);
        command.envs(variables.iter().copied()).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).spawn()?;
        let stderr = child.stderr.take().ok_or_else(|| io::Error::other("no standard error"))?;
        let mut served = Served { child, address: String::new(), stderr: BufReader::new(stderr) };
        let mut line = String::new();
        loop {
            line.clear();
            if served.stderr.read_line(&mut line)? == 0 {
                return Err(io::Error::other("multiprom serve ended without an address"));
            }
            if let Some((_, url)) = line.split_once("serving http://") {
                let (address, _) = url.split_once('/').unwrap_or((url, ""));
                address.clone_into(&mut served.address);
                return Ok(served);
            }
        }
    }

    pub fn connect(&self) -> io::Result<Connection> {
        Connection::open(&self.address)
    }

    /// Scrapes `scrapes` times; returns the processor time per scrape, in seconds.
    pub fn time_of(&self, connection: &mut Connection, scrapes: usize) -> io::Result<f64> {
        let before = self.processor_time()?;
        for _ in 0..scrapes {
            connection.get(TEXT)?;
        }
        Ok((self.processor_time()? - before) / scrapes as f64)
    }

    fn processor_time(&self) -> io::Result<f64> {
        thread::sleep(SETTLE);
        clocks::of_process(self.child.id())
    }

    /// The resident memory of the server.
    pub fn memory(&self) -> io::Result<Memory> {
        thread::sleep(SETTLE);
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number =
                line.and_then(|rest| rest.trim_start_matches(':').trim().split(' ').next());
            let kib: Option<u64> = number.and_then(|number| number.parse().ok());
            kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other(format!("no {name}")))
        };
        Ok(Memory {
            anonymous: field("RssAnon")?,
            mapped: field("RssFile")? + field("RssShmem")?,
            peak: field("VmHWM")?,
        })
    }

    /// Resets [`Memory::peak`] to the current value.
    pub fn reset_peak(&self) -> io::Result<()> {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // OK because the server may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Resident memory, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Anonymous memory.
    pub anonymous: u64,
    /// Mapped files: series files and the executable.
    pub mapped: u64,
    /// The peak of both together.
    pub peak: u64,
}
