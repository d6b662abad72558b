//! Files for the textfile collector of node_exporter.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::Result;
use crate::exposition::{Exposition, Format, Negotiated};
use crate::model::Gatherer;
use crate::outgoing::{Periodic, replace_file};

/// The permissions of the file: everyone may read it, as node_exporter runs as a user of its own.
const DEFAULT_MODE: u32 = 0o644;

/// Writes an exposition to a file, which is replaced atomically: a reader sees the previous or the new exposition, each
/// complete.
///
/// node_exporter reads the files `*.prom` of its `--collector.textfile.directory`. It omits files with timestamps, and
/// expects one help text for a family that is in several files.
///
/// The exposition is written to a temporary file in the same directory, synced, and renamed. The temporary file is hidden,
/// does not end in `.prom`, and is removed if an error occurs; a process that is killed meanwhile leaves it. If the path is a
/// symbolic link, the link is replaced.
///
/// ```
/// use multiprom::bridge::Textfile;
/// use multiprom::{Counter, Registry};
///
/// let registry = Registry::new();
/// Counter::builder("rows_total", "Rows read.").register(&registry)?.inc_by(3.0);
/// let path = std::env::temp_dir().join(format!("multiprom-{}.prom", std::process::id()));
/// Textfile::new(&path).write(&registry)?;
/// assert_eq!(
///     std::fs::read_to_string(&path).unwrap(),
///     "# HELP rows_total Rows read.\n\
///      ## TYPE rows_total counter\n\
///      rows_total 3\n"
/// );
/// # std::fs::remove_file(path).unwrap();
/// # Ok::<(), multiprom::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Textfile {
    path: PathBuf,
    temporary_dir: Option<PathBuf>,
    mode: u32,
    format: Negotiated,
}

impl Textfile {
    /// A file with the mode 0644, in the text format 0.0.4 with names escaped by underscores.
    pub fn new(path: impl Into<PathBuf>) -> Textfile {
        let format = Negotiated::from(Format::Text);
        Textfile { path: path.into(), temporary_dir: None, mode: DEFAULT_MODE, format }
    }

    /// Sets the permissions of the file, whatever the umask.
    pub fn mode(mut self, mode: u32) -> Textfile {
        self.mode = mode;
        self
    }

    /// Sets the format: a [`Format`], or a [`Negotiated`] with an [`Escaping`](crate::exposition::Escaping).
    ///
    /// node_exporter reads the text format 0.0.4.
    pub fn format(mut self, format: impl Into<Negotiated>) -> Textfile {
        self.format = format.into();
        self
    }

    /// Sets the directory of the temporary file, which must be on the file system of the path. By default it is the
    /// directory of the path.
    pub fn temporary_dir(mut self, dir: impl Into<PathBuf>) -> Textfile {
        self.temporary_dir = Some(dir.into());
        self
    }

    /// Replaces the file.
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](crate::ErrorKind::Usage) if the path does not end in a file name, of kind [`Io`](ErrorKind::Io) if a file
    /// cannot be written or renamed, and the first error that a collector reports. The file at the path is then unchanged.
    pub fn write(&self, source: &dyn Gatherer) -> Result<()> {
        replace_file(&self.path, self.temporary_dir.as_deref(), self.mode, |file| {
            Exposition::write(source, self.format, file)
        })
    }

    /// Replaces the file now, and then once in each interval, on a thread of its own.
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](crate::ErrorKind::Usage) if the interval is zero, and of kind [`Io`](ErrorKind::Io) if no thread can be
    /// started. Errors of writing are logged.
    pub fn start(
        &self,
        source: impl Gatherer + Send + 'static,
        interval: Duration,
    ) -> Result<Periodic> {
        let textfile = self.clone();
        Periodic::start("multiprom-text", interval, move || textfile.write(&source))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::*;
    use crate::error::{Error, ErrorKind};
    use crate::exposition::Escaping;
    use crate::model::FamilySink;
    use crate::test_dir::TestDir;

    struct Dotted;

    impl Gatherer for Dotted {
        fn gather(&self, out: &mut dyn FamilySink) {
            out.gauge("a.b", "").sample(&[], 1.0);
        }
    }

    struct Broken;

    impl Gatherer for Broken {
        fn gather(&self, out: &mut dyn FamilySink) {
            Dotted.gather(out);
            out.fail(Error::new(ErrorKind::Directory, "the totals are incomplete"));
        }
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn the_file_has_the_mode_and_the_escaping_that_were_set() {
        let dir = TestDir::new();
        let path = dir.join("a.prom");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        Textfile::new(&path).write(&Dotted).unwrap();
        assert_eq!(mode(), 0o644);
        assert_eq!(fs::read_to_string(&path).unwrap(), "# TYPE a_b gauge\na_b 1\n");
        let values = Negotiated::new(Format::Text, Escaping::Values);
        Textfile::new(&path).mode(0o640).format(values).write(&Dotted).unwrap();
        assert_eq!(mode(), 0o640);
        assert_eq!(fs::read_to_string(&path).unwrap(), "# TYPE U__a_2e_b gauge\nU__a_2e_b 1\n");
        assert_eq!(names(&dir), ["a.prom"]);
    }

    #[test]
    fn after_an_error_the_file_is_unchanged_and_no_temporary_file_is_left() {
        let dir = TestDir::new();
        let path = dir.join("a.prom");
        fs::write(&path, "before").unwrap();
        let error = Textfile::new(&path).write(&Broken).unwrap_err();
        assert_eq!(error.to_string(), "the totals are incomplete");
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");
        assert_eq!(names(&dir), ["a.prom"]);

        let taken = dir.join("taken");
        fs::create_dir(&taken).unwrap();
        let error = Textfile::new(&taken).write(&Dotted).unwrap_err();
        assert!(error.to_string().contains("cannot replace the file: "), "{error}");
        assert_eq!(names(&dir).len(), 2);
        let missing = dir.join("missing");
        let error = Textfile::new(missing.join("a.prom")).write(&Dotted).unwrap_err();
        assert!(error.to_string().contains("cannot create the temporary file: "), "{error}");
        assert_eq!(Textfile::new("/").write(&Dotted).unwrap_err().kind(), ErrorKind::Usage);
    }

    #[test]
    fn the_temporary_file_is_in_the_directory_that_was_set() {
        let dir = TestDir::new();
        let (path, temporary) = (dir.join("a.prom"), dir.join("tmp"));
        let textfile = Textfile::new(&path).temporary_dir(&temporary);
        let error = textfile.write(&Dotted).unwrap_err();
        assert!(error.path().unwrap().starts_with(&temporary), "{error}");
        fs::create_dir(&temporary).unwrap();
        textfile.write(&Dotted).unwrap();
        assert_eq!(names(&temporary), <[String; 0]>::default());
    }
}
