//! The parts of the status page about processes and directories.

use std::fmt::Write as _;

use super::source::{DirectoryStatus, ProcessState, ProcessStatus, Status};
use super::text::{bytes, count, duration, escape};

/// Processes that are listed.
const MAX_LISTED_PROCESSES: usize = 200;
/// Families whose bytes are listed.
const MAX_LISTED_FAMILIES: usize = 10;

impl ProcessState {
    fn as_str(self) -> &'static str {
        match self {
            ProcessState::Alive => "alive",
            ProcessState::Unknown => "unknown",
            ProcessState::Dead => "dead",
            ProcessState::Retired => "retired",
        }
    }
}

/// The processes of all directories.
pub(super) fn processes(html: &mut String, status: &Status, now: f64) {
    html.push_str("<section id=\"processes\">");
    if status.directories.is_empty() {
        html.push_str("</section>\n");
        return;
    }
    let mut all: Vec<(&DirectoryStatus, &ProcessStatus)> = Vec::new();
    for directory in &status.directories {
        all.extend(directory.processes.iter().map(|process| (directory, process)));
    }
    // The newest of each state first.
    all.sort_by(|(_, a), (_, b)| a.state.cmp(&b.state).then(b.since.total_cmp(&a.since)));
    let _ = write!(html, "<h2>Processes <span class=\"count\">{}</span></h2>", count(all.len()));
    if all.is_empty() {
        html.push_str("<p class=\"note\">No process has recorded yet.</p></section>\n");
        return;
    }
    let several = status.directories.len() > 1;
    let headings = if several { "<th scope=\"col\">Directory</th>" } else { "" };
    let _ = write!(
        html,
        "<div class=\"scroll\"><table class=\"cards\"><thead><tr><th scope=\"col\">Process</th>\
         <th scope=\"col\">Command</th><th scope=\"col\">State</th><th scope=\"col\">For</th>\
         <th scope=\"col\">Files</th><th scope=\"col\">Entries</th><th scope=\"col\">Used</th>\
         <th scope=\"col\">Memory</th>{headings}</tr></thead><tbody>"
    );
    for (directory, process) in all.iter().take(MAX_LISTED_PROCESSES) {
        row(html, process, several.then_some(directory.path.as_str()), now);
    }
    html.push_str("</tbody></table></div>");
    if all.len() > MAX_LISTED_PROCESSES {
        let more = count(all.len() - MAX_LISTED_PROCESSES);
        let _ = write!(html, "<p class=\"note\">and {more} more</p>");
    }
    html.push_str("</section>\n");
}

fn row(html: &mut String, process: &ProcessStatus, directory: Option<&str>, now: f64) {
    let state = process.state.as_str();
    let age = duration((now - process.since).max(0.0).round());
    let resident = process.resident.map_or_else(String::new, bytes);
    let _ = write!(
        html,
        "<tr><td data-label=\"Process\" class=\"id\">{}</td><td data-label=\"Command\">{}</td>\
         <td data-label=\"State\"><span class=\"state {state}\">{state}</span></td>\
         <td data-label=\"For\">{age}</td><td data-label=\"Files\">{}</td>\
         <td data-label=\"Entries\">{}</td><td data-label=\"Used\">{}</td><td data-label=\"Memory\">{resident}</td>",
        escape(&process.id),
        escape(process.command.as_deref().unwrap_or_default()),
        count(process.files),
        count(process.entries),
        bytes(process.used as f64)
    );
    if let Some(directory) = directory {
        let _ = write!(html, "<td data-label=\"Directory\">{}</td>", escape(directory));
    }
    html.push_str("</tr>\n");
}

/// What fills a directory, and its archive.
pub(super) fn directory(html: &mut String, status: &DirectoryStatus, now: f64) {
    let path = escape(&status.path);
    let _ = write!(
        html,
        "<section class=\"directory\" data-key=\"{path}\"><h2>Directory <code>{path}</code></h2>\
         <p class=\"note\">{} in {} files, of which {} are reserved and not used yet",
        bytes(status.len as f64),
        count(status.files),
        bytes(status.reserved as f64)
    );
    if let Some(archive) = &status.archive {
        let _ = write!(
            html,
            ". Archive: generation {}, {} entries, {}, written {} ago",
            archive.generation,
            count(archive.entries),
            bytes(archive.len as f64),
            duration((now - archive.written).max(0.0).round())
        );
    }
    html.push_str(".</p>\n");
    let largest = &status.families[..status.families.len().min(MAX_LISTED_FAMILIES)];
    let most = largest.first().map_or(0, |family| family.bytes).max(1);
    if !largest.is_empty() {
        html.push_str(
            "<div class=\"scroll\"><table class=\"fill\"><thead><tr><th scope=\"col\">Family</th>\
             <th scope=\"col\">Series</th><th scope=\"col\">Bytes</th><th><span class=\"hidden\">Share</span></th>\
             </tr></thead><tbody>",
        );
    }
    for family in largest {
        let _ = write!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"share\"><svg viewBox=\"0 0 100 8\" \
             preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect class=\"bar\" width=\"{:.1}\" height=\"8\" rx=\"1\"/></svg></td></tr>",
            escape(&family.name),
            count(family.series),
            bytes(family.bytes as f64),
            100.0 * family.bytes as f64 / most as f64
        );
    }
    if !largest.is_empty() {
        html.push_str("</tbody></table></div>");
    }
    if status.families.len() > largest.len() {
        let more = count(status.families.len() - largest.len());
        let _ = write!(html, "<p class=\"note\">and {more} smaller families</p>");
    }
    html.push_str("</section>\n");
}
