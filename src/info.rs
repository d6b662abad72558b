//! Information about the build of a program and about its platform, as labels of samples with the value 1.

use std::env::consts::{ARCH, OS};
use std::fs;

use crate::error::{Error, ErrorKind, Result};
use crate::model::{Collector, FamilySink, name};

/// A collector of the version of a program and of its other properties: `<program>_build_info`, as other exporters have it.
///
/// The labels `arch` and `os` are those of the target. The text format writes a gauge, OpenMetrics an info.
///
/// ```
/// use multiprom::collector::BuildInfo;
/// use multiprom::{Backend, Registry};
///
/// let build = BuildInfo::new("shop")?
///     .label("version", env!("CARGO_PKG_VERSION"))?
///     .label("revision", option_env!("GIT_REVISION").unwrap_or("unknown"))?;
/// let registry = Registry::builder().backend(Backend::in_memory()).build()?;
/// registry.register(build)?;
/// # let os_and_arch = [("arch", std::env::consts::ARCH), ("os", std::env::consts::OS)];
/// # let mut labels = vec![("version", env!("CARGO_PKG_VERSION")), ("revision", "unknown")];
/// # labels.extend(os_and_arch);
/// # assert_eq!(registry.sample_value("shop_build_info", &labels), Some(1.0));
/// // shop_build_info{arch="x86_64",os="linux",revision="unknown",version="0.1.0"} 1
/// # Ok::<(), multiprom::Error>(())
/// ```
///
/// In a registry that several processes export as one page, such as the merged page of a multiprocess directory, the
/// collector is about the process that renders the page, and shows once. An [`Info`](crate::metrics::Info) is recorded by each
/// worker, so the merged page shows what every worker has set: use it for what may differ among workers, such as the version
/// during a rolling restart.
#[derive(Clone, Debug)]
pub struct BuildInfo {
    family: String,
    /// Sorted by name.
    labels: Vec<(String, String)>,
}

impl BuildInfo {
    /// Describes the build of a program, whose name is the prefix of the family.
    ///
    /// # Errors
    ///
    /// Of kind [`InvalidName`](ErrorKind::InvalidName) for a name that a family cannot begin with.
    pub fn new(program: &str) -> Result<BuildInfo> {
        let family = format!("{program}_build");
        name::check_metric_name(&family)
            .map_err(|error| Error::new(ErrorKind::InvalidName, error))?;
        BuildInfo { family, labels: Vec::new() }.label("arch", ARCH)?.label("os", OS)
    }

    /// Adds a label, such as `version`, `revision` or `features`.
    ///
    /// # Errors
    ///
    /// Of kind [`InvalidLabels`](ErrorKind::InvalidLabels) for a malformed name, or one that is there already.
    pub fn label(mut self, name: &str, value: impl Into<String>) -> Result<BuildInfo> {
        self.labels.push((name.to_owned(), value.into()));
        let names = self.labels.iter().map(|(name, _)| name.as_str());
        name::check_label_names(&names, None)
            .map_err(|error| Error::new(ErrorKind::InvalidLabels, error))?;
        self.labels.sort_unstable();
        Ok(self)
    }
}

impl Collector for BuildInfo {
    fn collect(&self, out: &mut dyn FamilySink) {
        write_info(&self.family, "Build of the program.", &self.labels, out);
    }

    fn describe(&self, out: &mut dyn FamilySink) {
        self.collect(out);
    }

    fn is_merged(&self) -> bool {
        false
    }
}

/// A collector of the platform on which the process runs: `platform_info`.
///
/// | label | value |
/// |---|---|
/// | `arch` | the architecture of the build, such as `x86_64` |
/// | `env` | the C library of the build, `gnu` or `musl`; absent if it is another one |
/// | `os` | the operating system of the build, such as `linux` |
/// | `release` | the release of the Linux kernel, such as `6.1.0-18-amd64`; absent on other systems |
///
/// ```
/// use multiprom::collector::PlatformInfo;
/// use multiprom::{Backend, Registry};
///
/// let registry = Registry::builder().backend(Backend::in_memory()).build()?;
/// registry.register(PlatformInfo::new())?;
/// assert!(registry.render(None).to_string().contains("platform_info{arch="));
/// # Ok::<(), multiprom::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct PlatformInfo {
    /// Sorted by name.
    labels: [(&'static str, String); 4],
}

/// The file with the release of the kernel. See: proc_sys_kernel(5).
const RELEASE: &str = "/proc/sys/kernel/osrelease";

impl PlatformInfo {
    /// Describes the platform. Reads the release of the kernel, which does not change while the process runs.
    pub fn new() -> PlatformInfo {
        let env = if cfg!(target_env = "gnu") {
            "gnu"
        } else if cfg!(target_env = "musl") {
            "musl"
        } else {
            ""
        };
        // OK because an empty label is left out.
        let release = fs::read_to_string(RELEASE).unwrap_or_default();
        let release = release.trim_end().to_owned();
        let labels = [
            ("arch", ARCH.to_owned()),
            ("env", env.to_owned()),
            ("os", OS.to_owned()),
            ("release", release),
        ];
        PlatformInfo { labels }
    }
}

impl Default for PlatformInfo {
    fn default() -> PlatformInfo {
        PlatformInfo::new()
    }
}

impl Collector for PlatformInfo {
    fn collect(&self, out: &mut dyn FamilySink) {
        write_info("platform", "Platform of the process.", &self.labels, out);
    }

    fn describe(&self, out: &mut dyn FamilySink) {
        self.collect(out);
    }

    fn is_merged(&self) -> bool {
        false
    }
}

/// Writes an info family of one sample. Prometheus takes an empty label for an absent one, so it is left out.
fn write_info<N: AsRef<str>>(
    family: &str,
    help: &str,
    labels: &[(N, String)],
    out: &mut dyn FamilySink,
) {
    let labels = labels.iter().map(|(name, value)| (name.as_ref(), value.as_str()));
    let labels: Vec<(&str, &str)> = labels.filter(|(_, value)| !value.is_empty()).collect();
    out.info(family, help).sample(&labels);
}
