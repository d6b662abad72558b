//! Patterns of family names: they select the families that are exported, and modes of gauges.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use regex::Regex;

use super::log;
use crate::model::{
    Collector, DirectoryId, FamilyMetadata, FamilySink, FilteredSink, Gatherer, GaugeMode,
    MetricType,
};
use crate::registry::Registry;

/// The prefix of the names of multiprom's own metrics.
const OWN_PREFIX: &str = "multiprom_";

/// A regular expression that must match the whole name, as in Prometheus.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    text: String,
    regex: Regex,
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Pattern, String> {
        let regex = Regex::new(&format!("^(?:{text})$")).map_err(|error| {
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or("not a regular expression").trim();
            reason.strip_prefix("error: ").unwrap_or(reason).to_owned()
        })?;
        Ok(Pattern { text: text.to_owned(), regex })
    }
}

/// A flag with its pattern.
struct Flag {
    name: &'static str,
    pattern: Pattern,
    has_matched: AtomicBool,
}

impl Flag {
    fn new(name: &'static str, pattern: Pattern) -> Flag {
        Flag { name, pattern, has_matched: AtomicBool::new(false) }
    }

    fn has_matched(&self) -> bool {
        self.has_matched.load(Ordering::Relaxed)
    }

    /// Whether the pattern matches one of the names.
    fn matches(&self, names: &[String]) -> bool {
        let matches = names.iter().any(|name| self.pattern.regex.is_match(name));
        if matches {
            self.has_matched.store(true, Ordering::Relaxed);
        }
        matches
    }
}

/// The patterns of all flags.
#[derive(Default)]
pub(super) struct Patterns {
    include: Vec<Flag>,
    exclude: Vec<Flag>,
    gauge_mode: Vec<(Flag, GaugeMode)>,
    /// Whether any family that is not multiprom's own was compared with the patterns.
    has_seen_families: AtomicBool,
    /// How many registries have not been scraped yet.
    pending: AtomicUsize,
    is_reported: AtomicBool,
}

impl Patterns {
    pub(super) fn new(
        include: Vec<Pattern>,
        exclude: Vec<Pattern>,
        gauge_mode: Vec<(Pattern, GaugeMode)>,
    ) -> Patterns {
        let flags = |name, patterns: Vec<Pattern>| -> Vec<Flag> {
            patterns.into_iter().map(|pattern| Flag::new(name, pattern)).collect()
        };
        let rule = |(pattern, mode)| (Flag::new("--gauge-mode", pattern), mode);
        Patterns {
            include: flags("--include", include),
            exclude: flags("--exclude", exclude),
            gauge_mode: gauge_mode.into_iter().map(rule).collect(),
            ..Patterns::default()
        }
    }

    /// Whether families may be omitted.
    pub(super) fn are_filtering(&self) -> bool {
        !self.include.is_empty() || !self.exclude.is_empty()
    }

    pub(super) fn have_modes(&self) -> bool {
        !self.gauge_mode.is_empty()
    }

    /// Whether a merged family is exported. One of multiprom's own is always included.
    pub(super) fn keeps(&self, name: &str, metric_type: MetricType) -> bool {
        self.keeps_of(name, metric_type, name.starts_with(OWN_PREFIX))
    }

    /// Whether a family about the command itself is exported, which is always included.
    fn keeps_own(&self, name: &str, metric_type: MetricType) -> bool {
        self.keeps_of(name, metric_type, true)
    }

    fn keeps_of(&self, name: &str, metric_type: MetricType, is_own: bool) -> bool {
        let names = names(name, metric_type);
        let is_included = self.include.is_empty() | any(&self.include, &names) | is_own;
        if !is_own {
            self.has_seen_families.store(true, Ordering::Relaxed);
        }
        !any(&self.exclude, &names) && is_included
    }

    /// The mode of a gauge if a rule matches its name.
    pub(super) fn mode(&self, name: &str) -> Option<GaugeMode> {
        self.has_seen_families.store(true, Ordering::Relaxed);
        let names = [name.to_owned()];
        let rule = self.gauge_mode.iter().find(|(flag, _)| flag.matches(&names));
        rule.map(|(_, mode)| *mode)
    }

    /// Logs the patterns that have matched no family, once, after every registry has been scraped and a family was found.
    fn report(&self) {
        if self.pending.load(Ordering::Acquire) > 0
            || !self.has_seen_families.load(Ordering::Relaxed)
            || self.is_reported.swap(true, Ordering::Relaxed)
        {
            return;
        }
        let modes = self.gauge_mode.iter().map(|(flag, _)| flag);
        for flag in self.include.iter().chain(&self.exclude).chain(modes) {
            if !flag.has_matched() {
                let Flag { name, pattern, .. } = flag;
                log::warn(&format_args!("{name} `{}` has matched no family so far", pattern.text));
            }
        }
    }
}

/// Whether one of the flags matches one of the names. Each flag is tried until it has matched once, so that unused
/// patterns are known.
fn any(flags: &[Flag], names: &[String]) -> bool {
    let mut matches = false;
    for flag in flags {
        if !matches || !flag.has_matched() {
            matches |= flag.matches(names);
        }
    }
    matches
}

/// The names that a pattern may match: that of the family and those of its samples, without `_created`: a pattern selects
/// families, and one for all start timestamps would otherwise select all counters.
fn names(name: &str, metric_type: MetricType) -> Vec<String> {
    let suffixes = metric_type.suffixes().iter().filter(|suffix| **suffix != "_created");
    suffixes.map(|suffix| [name, suffix].concat()).collect()
}

/// Omits the excluded families of a collector of metrics about the command itself.
pub(super) struct FilteredCollector<C> {
    pub(super) collector: C,
    pub(super) patterns: Arc<Patterns>,
}

impl<C> FilteredCollector<C> {
    fn keeps(&self, head: &FamilyMetadata<'_>) -> bool {
        self.patterns.keeps_own(head.name, head.metric_type)
    }
}

impl<C: Collector> Collector for FilteredCollector<C> {
    fn collect(&self, out: &mut dyn FamilySink) {
        self.collector
            .collect(&mut FilteredSink::new(out, |head: &FamilyMetadata<'_>| self.keeps(head)));
    }

    fn describe(&self, out: &mut dyn FamilySink) {
        self.collector
            .describe(&mut FilteredSink::new(out, |head: &FamilyMetadata<'_>| self.keeps(head)));
    }

    fn directories(&self) -> Vec<DirectoryId> {
        self.collector.directories()
    }

    fn is_merged(&self) -> bool {
        self.collector.is_merged()
    }
}

/// A registry that reports unused patterns when every registry with these patterns has been scraped. An exposition of some
/// names only does not count, as it may leave out the families that a pattern matches.
#[derive(Clone)]
pub(super) struct ReportingRegistry {
    registry: Registry,
    patterns: Arc<Patterns>,
    /// Shared by the clones.
    is_scraped: Arc<AtomicBool>,
}

impl ReportingRegistry {
    pub(super) fn new(registry: Registry, patterns: Arc<Patterns>) -> ReportingRegistry {
        patterns.pending.fetch_add(1, Ordering::Relaxed);
        ReportingRegistry { registry, patterns, is_scraped: Arc::default() }
    }
}

impl Gatherer for ReportingRegistry {
    fn gather(&self, out: &mut dyn FamilySink) {
        self.registry.gather(out);
        if !self.is_scraped.swap(true, Ordering::Relaxed) {
            // Release: the thread that reports sees the matches of this scrape.
            self.patterns.pending.fetch_sub(1, Ordering::Release);
        }
        self.patterns.report();
    }

    fn gather_names(&self, names: &[String], out: &mut dyn FamilySink) {
        self.registry.gather_names(names, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Sample;
    use crate::process::ProcessCollector;

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|text| Pattern::parse(text).unwrap()).collect()
    }

    fn unmatched(patterns: &Patterns) -> Vec<&str> {
        let modes = patterns.gauge_mode.iter().map(|(flag, _)| flag);
        let all = patterns.include.iter().chain(&patterns.exclude).chain(modes);
        all.filter(|flag| !flag.has_matched()).map(|flag| &*flag.pattern.text).collect()
    }

    #[test]
    fn a_pattern_matches_the_whole_name_of_a_family_or_of_a_sample() {
        use MetricType::{Counter, Gauge, Histogram, Summary};
        for (pattern, family, matches) in [
            ("req_total", ("req", Counter), true),
            ("req", ("req", Counter), true),
            ("re.*", ("req", Counter), true),
            ("re", ("req", Counter), false),
            ("eq_total", ("req", Counter), false),
            ("a|req_total|b", ("req", Counter), true),
            ("req_total", ("req", Gauge), false),
            ("size_bucket", ("size", Histogram), true),
            ("size_count", ("size", Summary), true),
            ("size_bucket", ("size", Summary), false),
            // Patterns do not match this sample.
            (".*_created", ("req", Counter), false),
        ] {
            let only = Patterns::new(patterns(&[pattern]), Vec::new(), Vec::new());
            assert_eq!(only.keeps(family.0, family.1), matches, "{pattern} {family:?}");
            let without = Patterns::new(Vec::new(), patterns(&[pattern]), Vec::new());
            assert_eq!(without.keeps(family.0, family.1), !matches, "{pattern} {family:?}");
        }
    }

    #[test]
    fn metrics_of_multiprom_are_omitted_only_if_they_are_excluded() {
        let all =
            Patterns::new(patterns(&["req_total"]), patterns(&["multiprom_files"]), Vec::new());
        assert!(all.keeps("multiprom_file_errors", MetricType::Counter));
        assert!(!all.keeps("multiprom_files", MetricType::Gauge));
        let none = Patterns::new(Vec::new(), patterns(&["multiprom_.*"]), Vec::new());
        assert!(!none.keeps("multiprom_file_errors", MetricType::Counter));
    }

    #[test]
    fn metrics_of_the_command_are_described_as_they_are_exported_and_are_not_seen_families() {
        #[derive(Debug, Default)]
        struct Names(Vec<String>);
        impl FamilySink for Names {
            fn family(&mut self, head: &FamilyMetadata<'_>) {
                self.0.push(head.name.to_owned());
            }

            fn sample(&mut self, _: &Sample<'_>) {}
        }
        let excluded = patterns(&["process_open_fds"]);
        let patterns = Arc::new(Patterns::new(patterns(&["app_.*"]), excluded, Vec::new()));
        let collector = ProcessCollector::current();
        let filtered = FilteredCollector { collector, patterns: Arc::clone(&patterns) };
        let (mut described, mut exported) = (Names::default(), Names::default());
        filtered.describe(&mut described);
        filtered.collect(&mut exported);
        assert!(exported.0.iter().all(|name| described.0.contains(name)), "{described:?}");
        assert!(exported.0.contains(&"process_cpu_seconds".to_owned()), "{exported:?}");
        assert!(!described.0.contains(&"process_open_fds".to_owned()), "{described:?}");
        assert!(!patterns.has_seen_families.load(Ordering::Relaxed));
    }

    #[test]
    fn every_pattern_that_matches_a_family_counts_as_used() {
        let rules =
            patterns(&["a", ".*", "b"]).into_iter().map(|it| (it, GaugeMode::Sum)).collect();
        let flags =
            Patterns::new(patterns(&["a.*", "ab", "x"]), patterns(&["ab", ".b", "y"]), rules);
        assert!(!flags.keeps("ab", MetricType::Gauge));
        assert_eq!(flags.mode("a"), Some(GaugeMode::Sum));
        assert_eq!(unmatched(&flags), ["x", "y", ".*", "b"]);
        flags.mode("c");
        flags.keeps("x", MetricType::Gauge);
        assert_eq!(unmatched(&flags), ["y", "b"]);
    }
}
