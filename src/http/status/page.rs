//! The HTML of the status page.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::families::{Families, GatheredFamily, GatheredSeries};
use super::history::History;
use super::plot;
use super::processes::{directory, processes};
use super::source::{ProcessState, Status};
use super::text::{bytes, count, duration, escape, quantity, query_value, short};
use crate::model::MetricType;

/// Families that are listed.
const MAX_LISTED_FAMILIES: usize = 200;
/// The prefixes of the metrics of the exporter itself, which are listed last.
const OWN_PREFIXES: [&str; 2] = ["multiprom_", "process_"];
/// Problems that are listed.
const MAX_LISTED_PROBLEMS: usize = 20;

/// What a page shows.
pub(super) struct View<'a> {
    /// The paths of the metrics.
    pub(super) paths: &'a [&'a str],
    /// The index of the path whose families are shown.
    pub(super) selected: usize,
    /// The text that is sought.
    pub(super) search: &'a str,
    pub(super) families: &'a Families,
    pub(super) history: &'a History,
    pub(super) status: &'a Status,
    /// Why the values are old, if they are.
    pub(super) late: Option<&'a str>,
    /// The last scrapes: seconds before now, and how many seconds they took.
    pub(super) scrapes: &'a [(f64, f64)],
    pub(super) uptime: Duration,
    /// When the families were gathered.
    pub(super) gathered: Instant,
    /// In seconds since the Unix epoch.
    pub(super) unix_time: f64,
}

/// The page.
pub(super) fn render(view: &View<'_>) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"robots\" content=\"noindex\">\n\
         <title>multiprom</title>\n<link rel=\"icon\" href=\"favicon.ico\" type=\"image/svg+xml\">\n\
         <link rel=\"stylesheet\" href=\"-/status.css?v={version}\">\n\
         <script src=\"-/status.js?v={version}\" defer></script>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#families\">Skip to the families</a>\n"
    );
    header(&mut html, view);
    html.push_str("<main>\n");
    tiles(&mut html, view);
    problems(&mut html, view);
    processes(&mut html, view.status, view.unix_time);
    for status in &view.status.directories {
        directory(&mut html, status, view.unix_time);
    }
    families(&mut html, view);
    let _ = write!(
        html,
        "</main>\n<footer><p>multiprom {version}, up for {}. Plots show the last 10 minutes at most.</p></footer>\n\
         </body>\n</html>\n",
        duration(view.uptime.as_secs_f64())
    );
    html
}

/// A path of this server, relative to the page, so that a proxy may serve all of it under a path of its own.
fn relative(path: &str) -> String {
    // Without the dot, `jobs:x` would be a URL with the scheme `jobs`.
    format!(".{}", escape(path))
}

fn header(html: &mut String, view: &View<'_>) {
    let search = escape(view.search);
    html.push_str(
        "<header>\n<h1><svg class=\"logo\" viewBox=\"0 0 16 16\" aria-hidden=\"true\">\
         <path d=\"M3 2v4l5 4 5-4V2M8 10v4\"/></svg>multiprom</h1>\n<nav aria-label=\"Metrics\">",
    );
    for (at, path) in view.paths.iter().enumerate() {
        let _ = write!(html, "<a href=\"{}\">{}</a>", relative(path), escape(path));
        if view.paths.len() > 1 {
            let current = if at == view.selected { " aria-current=\"page\"" } else { "" };
            let _ = write!(
                html,
                "<a class=\"view\" href=\"?at={at}\" aria-label=\"view {}\"{current}>view</a>",
                escape(path)
            );
        }
    }
    let _ = write!(
        html,
        "</nav>\n<form role=\"search\" action=\"./\">\
         <input type=\"hidden\" name=\"at\" value=\"{}\">\
         <input type=\"search\" name=\"q\" id=\"search\" value=\"{search}\" aria-label=\"Search families\" \
         placeholder=\"Search families\" autocomplete=\"off\" spellcheck=\"false\">\
         <button>Search</button></form>\n\
         <p id=\"live\" role=\"status\"></p>\n</header>\n",
        view.selected
    );
}

fn tiles(html: &mut String, view: &View<'_>) {
    html.push_str("<section class=\"tiles\" id=\"tiles\" aria-label=\"Overview\">\n");
    let directories = &view.status.directories;
    if !directories.is_empty() {
        let all = || directories.iter().flat_map(|directory| &directory.processes);
        let number = |state| all().filter(|process| process.state == state).count();
        let (alive, dead, unknown) = (
            number(ProcessState::Alive),
            number(ProcessState::Dead) + number(ProcessState::Retired),
            number(ProcessState::Unknown),
        );
        let mut note = format!("{} dead", count(dead));
        if unknown > 0 {
            let _ = write!(note, ", {} unknown", count(unknown));
        }
        tile(html, "Processes alive", &count(alive), &note, "");
    }
    let families = view.families;
    let note = format!("{} families", count(families.list.len()));
    tile(html, "Series", &count(families.series()), &note, "");
    let last = view.scrapes.last();
    let value = last.map_or("none yet".to_owned(), |(_, seconds)| duration(*seconds));
    let note = last.map_or(String::new(), |(age, _)| ago(*age, 0.0));
    let plot = if view.scrapes.len() > 1 {
        plot::line(
            view.scrapes,
            &format!("Duration of scrapes in the last {}", period(view.scrapes)),
        )
    } else {
        String::new()
    };
    tile(html, "Last scrape", &value, &note, &plot);
    if !directories.is_empty() {
        let len: u64 = directories.iter().map(|directory| directory.len).sum();
        let files: usize = directories.iter().map(|directory| directory.files).sum();
        let free = directories.iter().filter_map(|directory| directory.free).min();
        let mut note = format!("{} files", count(files));
        if let Some(free) = free {
            let _ = write!(note, ", {} free", bytes(free as f64));
        }
        tile(html, "On disk", &bytes(len as f64), &note, "");
    }
    html.push_str("</section>\n");
}

fn tile(html: &mut String, title: &str, value: &str, note: &str, plot: &str) {
    let _ = writeln!(
        html,
        "<div class=\"tile\"><h2>{title}</h2><p class=\"big\">{value}</p><p class=\"note\">{note}</p>{plot}</div>"
    );
}

/// What is wrong: the gathering, directories, and files.
fn problems(html: &mut String, view: &View<'_>) {
    html.push_str("<section id=\"problems\" aria-label=\"Problems\">");
    let directories = &view.status.directories;
    let gathering = view.late.into_iter().chain(view.families.error.as_deref());
    let listing = directories.iter().filter_map(|directory| directory.error.as_deref());
    let skipped = view.status.problems.iter().map(String::as_str);
    let mut lines: Vec<&str> = gathering.chain(listing).chain(skipped).collect();
    let number = lines.len() + view.status.more_problems as usize;
    lines.truncate(MAX_LISTED_PROBLEMS);
    if number > 0 {
        let _ =
            write!(html, "<h2>Problems <span class=\"count\">{}</span></h2><ul>", count(number));
        for line in &lines {
            let _ = write!(html, "<li>{}</li>", escape(line));
        }
        html.push_str("</ul>");
        if number > lines.len() {
            let _ = write!(html, "<p class=\"note\">and {} more</p>", count(number - lines.len()));
        }
    }
    html.push_str("</section>\n");
}

fn families(html: &mut String, view: &View<'_>) {
    let list = &view.families.list;
    let search = view.search.to_lowercase();
    let is_found = |family: &&GatheredFamily| {
        let contains = |text: &str| text.to_lowercase().contains(&search);
        search.is_empty()
            || contains(&family.name)
            || contains(&family.help)
            || family.metric_type.as_str() == search
            || family.shown.iter().any(|series| contains(&series.labels))
    };
    let mut found: Vec<&GatheredFamily> = list.iter().filter(is_found).collect();
    found.sort_by_key(|family| OWN_PREFIXES.iter().any(|own| family.name.starts_with(own)));
    let number = if found.len() == list.len() {
        count(list.len())
    } else {
        format!("{} of {}", count(found.len()), count(list.len()))
    };
    let _ = writeln!(
        html,
        "<section id=\"families\" tabindex=\"-1\"><h2>Families <span class=\"count\">{number}</span></h2>"
    );
    if found.is_empty() {
        let text = if list.is_empty() { "Nothing is recorded yet." } else { "No family matches." };
        let _ = writeln!(html, "<p class=\"note\">{text}</p>");
    }
    for family in found.iter().take(MAX_LISTED_FAMILIES) {
        family_details(html, family, view);
    }
    if found.len() > MAX_LISTED_FAMILIES {
        let more = count(found.len() - MAX_LISTED_FAMILIES);
        let _ = writeln!(html, "<p class=\"note\">and {more} more: search for them</p>");
    }
    html.push_str("</section>\n");
}

fn family_details(html: &mut String, family: &GatheredFamily, view: &View<'_>) {
    let (name, help) = (escape(&family.name), escape(&family.help));
    let points =
        if family.is_plotted() { view.history.plot(family, view.gathered) } else { Vec::new() };
    let unit = family.unit();
    let (value, what) = if family.is_cumulative() {
        let unit = if family.has_observations() { "" } else { unit };
        let rate = |rate: f64| format!("{}/s", quantity(rate, unit));
        (points.last().map_or_else(String::new, |(_, value)| rate(*value)), "Rate")
    } else if family.is_plotted() && family.series > 0 {
        (quantity(family.total, unit), if family.series > 1 { "Sum" } else { "Value" })
    } else if family.is_timestamp() {
        (ago(family.highest, view.unix_time), "")
    } else {
        (String::new(), "")
    };
    let drawn = if points.len() > 1 {
        let mut about = format!("{what} of {} in the last {}", family.name, period(&points));
        let highest = points.iter().map(|(_, value)| *value).fold(f64::NEG_INFINITY, f64::max);
        let _ = write!(about, ", at most {}", short(highest));
        plot::line(&points, &about)
    } else {
        String::new()
    };
    let sum = if what == "Sum" { "<small>sum</small> " } else { "" };
    let _ = write!(
        html,
        "<details class=\"family\" data-key=\"{name}\"><summary><span class=\"name\">{name}</span>\
         <span class=\"type\">{}</span><span class=\"help\">{help}</span>\
         <span class=\"value\">{sum}{value}</span><span class=\"drawn\">{drawn}</span></summary>",
        family.metric_type
    );
    if family.has_observations() && family.total > 0.0 {
        observations(html, family);
    }
    series(html, family, view);
    html.push_str("</details>\n");
}

/// The mean and the buckets of all series together.
fn observations(html: &mut String, family: &GatheredFamily) {
    let unit = family.unit();
    let _ = write!(
        html,
        "<p class=\"mean\">{} observations, mean {}</p>",
        short(family.total),
        quantity(family.sum / family.total, unit)
    );
    let mut buckets = family.buckets.clone();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    if buckets.len() < 2 {
        return;
    }
    let mut before = 0.0;
    let mut heights = Vec::with_capacity(buckets.len());
    for (_, cumulative) in &buckets {
        heights.push(cumulative - before);
        before = *cumulative;
    }
    let most = heights.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(at, _)| at);
    let bound = |at: usize| match buckets[at].0 {
        f64::INFINITY => format!("> {}", quantity(buckets[at - 1].0, unit)),
        bound => format!("\u{2264} {}", quantity(bound, unit)),
    };
    let (first, last) = (escape(&bound(0)), escape(&bound(buckets.len() - 1)));
    let about = format!("Observations by bucket, most of them {}", bound(most));
    let _ = write!(
        html,
        "<figure class=\"buckets\">{}<figcaption><span>{first}</span><span>{last}</span></figcaption></figure>",
        plot::bars(&heights, &about)
    );
}

/// The values of the first series.
fn series(html: &mut String, family: &GatheredFamily, view: &View<'_>) {
    let path = view.paths.get(view.selected).copied().unwrap_or_default();
    let heading = if family.has_observations() {
        "<th scope=\"col\">Count</th><th scope=\"col\">Mean</th>"
    } else {
        "<th scope=\"col\">Value</th>"
    };
    let _ = write!(
        html,
        "<div class=\"scroll\"><table><thead><tr><th scope=\"col\">Labels</th>{heading}</tr></thead><tbody>"
    );
    for series in &family.shown {
        let labels =
            if series.labels.is_empty() { "\u{2013}".to_owned() } else { escape(&series.labels) };
        let _ = write!(
            html,
            "<tr><td class=\"labels\">{labels}</td>{}</tr>",
            cells(family, series, view.unix_time)
        );
    }
    let name = escape(&family.name);
    // Of a counter, the name without `_total` selects the whole family.
    let selected = match family.metric_type {
        MetricType::Counter => family.name.strip_suffix("_total"),
        _ => None,
    };
    let _ = write!(
        html,
        "</tbody></table></div><p class=\"note\">{} of {} series: <a href=\"{}?name[]={}\">all of {name}</a></p>",
        count(family.shown.len()),
        count(family.series),
        relative(path),
        query_value(selected.unwrap_or(&family.name))
    );
}

/// The time that a plot shows.
fn period(points: &[(f64, f64)]) -> String {
    duration(plot::window(points).round())
}

/// How long ago a time was.
fn ago(time: f64, now: f64) -> String {
    let seconds = (now - time).round();
    if seconds < 0.0 {
        format!("in {}", duration(-seconds))
    } else {
        format!("{} ago", duration(seconds))
    }
}

fn cells(family: &GatheredFamily, series: &GatheredSeries, now: f64) -> String {
    let GatheredSeries { value, sum, .. } = series;
    if family.has_observations() {
        let mean = if *value > 0.0 { quantity(sum / value, family.unit()) } else { String::new() };
        return format!("<td>{}</td><td>{mean}</td>", plain(*value));
    }
    if family.is_timestamp() {
        return format!("<td title=\"{value}\">{}</td>", ago(*value, now));
    }
    match (family.metric_type, family.unit()) {
        (MetricType::Gauge | MetricType::Unknown, unit @ ("bytes" | "seconds")) => {
            format!("<td title=\"{}\">{}</td>", plain(*value), quantity(*value, unit))
        }
        _ => format!("<td>{}</td>", plain(*value)),
    }
}

/// The whole number, or the shortest text of the value.
fn plain(value: f64) -> String {
    if value.abs() < 1e15 && value.fract() == 0.0 && value >= 0.0 {
        count(value as usize)
    } else {
        format!("{value}")
    }
}
