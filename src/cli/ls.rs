//! `ls`: the files of directories and the liveness of their writers, or the bytes that each family takes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::args::{self, LsArguments};
use super::output::{print, print_message};
use super::owner;
use super::table::{Object, table};
use crate::error::Result;
use crate::file::place;
use crate::model::clock;
use crate::model::{GaugeMode, MetricType};
use crate::multiproc::{
    ArchiveInfo, DirectoryUsage, FamilyUsage, FileInfo, FileLayout, family_usage, inspect_archive,
    list_files_by,
};

const HEADINGS: [&str; 8] = ["TYPE", "MODE", "ID", "STATE", "LAYOUT", "ENTRIES", "USED", "SIZE"];
const FAMILY_HEADINGS: [&str; 5] = ["FAMILY", "TYPE", "SERIES", "ENTRIES", "BYTES"];

pub(super) fn run(arguments: &LsArguments) -> Result<ExitCode> {
    let dirs = args::directories(&arguments.dir)?;
    if arguments.families {
        list_families(&dirs, arguments.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    for (at, dir) in place::distinct(&dirs) {
        if dirs.len() > 1 && !arguments.json {
            let separator = if at > 0 { "\n" } else { "" };
            print(format!("{separator}{}:\n", dir.display()).as_bytes())?;
        }
        list_dir(dir, arguments.json)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn list_dir(dir: &Path, json: bool) -> Result<()> {
    let mut prober = owner::prober();
    let files = list_files_by(dir, &mut prober)?;
    let archive = inspect_archive(dir)?;
    let text = if json {
        let archive = archive.iter().map(archive_json);
        files.iter().map(file_json).chain(archive).collect::<Vec<_>>().concat()
    } else {
        let errors = files.iter().filter_map(|file| file.error.as_ref());
        errors
            .chain(archive.iter().filter_map(|it| it.error.as_ref()))
            .for_each(|error| print_message(error));
        prober.unreported().iter().for_each(|line| print_message(line));
        let mut text = table(HEADINGS, files.iter().map(file_row));
        text.extend(archive.iter().map(archive_line));
        text.into_bytes()
    };
    print(&text)
}

fn list_families(dirs: &[PathBuf], json: bool) -> Result<()> {
    let usage = family_usage(dirs)?;
    usage.errors.iter().for_each(|error| print_message(error));
    let text = if json {
        let families = usage.families.iter().map(family_json);
        families.chain([usage_json(&usage)]).collect::<Vec<_>>().concat()
    } else {
        let mut text = table(FAMILY_HEADINGS, usage.families.iter().map(family_row));
        text.push_str(&usage_line(&usage));
        text.into_bytes()
    };
    print(&text)
}

fn type_text(file: &FileInfo) -> Option<&'static str> {
    if file.is_companion { Some("companion") } else { file.metric_type.map(MetricType::as_str) }
}

fn file_row(file: &FileInfo) -> [String; 8] {
    let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let id = if file.metric_type.is_some() || file.is_companion {
        if file.is_retired { format!("retired/{}", file.id) } else { file.id.clone() }
    } else {
        file.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    };
    [
        or_dash(type_text(file)),
        or_dash(file.mode.map(GaugeMode::as_str)),
        id,
        file.liveness.to_string(),
        or_dash(file.layout.map(FileLayout::as_str)),
        file.entries.to_string(),
        file.used.to_string(),
        file.len.to_string(),
    ]
}

fn archive_line(archive: &ArchiveInfo) -> String {
    let now = clock::now();
    let ArchiveInfo { generation, written, series, processes, sources, len, .. } = archive;
    let (age, sources) = ((now - written).max(0.0), sources.len());
    format!(
        "archive: generation {generation}, {series} entries, gauges of {processes} ended processes, \
         {sources} files absorbed last, {len} bytes, written {age:.0} s ago\n"
    )
}

fn family_row(family: &FamilyUsage) -> [String; 5] {
    let FamilyUsage { name, metric_type, series, entries, bytes, .. } = family;
    [
        name.clone(),
        metric_type.map_or("-", MetricType::as_str).to_owned(),
        series.to_string(),
        entries.to_string(),
        bytes.to_string(),
    ]
}

/// The label sets, entries and bytes of all families.
fn totals(usage: &DirectoryUsage) -> (usize, usize, u64) {
    let families = &usage.families;
    (
        families.iter().map(|family| family.series).sum(),
        families.iter().map(|family| family.entries).sum(),
        families.iter().map(|family| family.bytes).sum(),
    )
}

fn usage_line(usage: &DirectoryUsage) -> String {
    let DirectoryUsage { families, files, reserved, other, len, .. } = usage;
    let (series, entries, bytes) = totals(usage);
    format!(
        "total: {} families, {series} series, {entries} entries, {bytes} bytes; headers and other data {other} bytes, \
         reserved and not used {reserved} bytes; {files} files of {len} bytes\n",
        families.len()
    )
}

/// The fields of the table, and the error of the file.
fn file_json(file: &FileInfo) -> Vec<u8> {
    let mut object = Object::begin();
    object
        .text("path", Some(&file.path.to_string_lossy()))
        .text("type", type_text(file))
        .text("mode", file.mode.map(GaugeMode::as_str))
        .text("id", Some(&file.id))
        .text("state", Some(&file.liveness.to_string()))
        .value("retired", file.is_retired)
        .text("layout", file.layout.map(FileLayout::as_str))
        .text("error", file.error.as_ref().map(|it| format!("{it:#}")).as_deref())
        .value("entries", file.entries)
        .value("used", file.used)
        .value("size", file.len);
    object.end()
}

fn archive_json(archive: &ArchiveInfo) -> Vec<u8> {
    let mut object = Object::begin();
    object
        .text("path", Some(&archive.path.to_string_lossy()))
        .text("type", Some("archive"))
        .value("generation", archive.generation)
        .value("written", archive.written)
        .value("entries", archive.series)
        .value("processes", archive.processes)
        .value("sources", archive.sources.len())
        .text("error", archive.error.as_ref().map(|it| format!("{it:#}")).as_deref())
        .value("size", archive.len);
    object.end()
}

fn family_json(family: &FamilyUsage) -> Vec<u8> {
    let mut object = Object::begin();
    object
        .text("family", Some(&family.name))
        .text("type", family.metric_type.map(MetricType::as_str))
        .value("series", family.series)
        .value("entries", family.entries)
        .value("bytes", family.bytes);
    object.end()
}

fn usage_json(usage: &DirectoryUsage) -> Vec<u8> {
    let (series, entries, bytes) = totals(usage);
    let mut object = Object::begin();
    object
        .text("type", Some("total"))
        .value("families", usage.families.len())
        .value("series", series)
        .value("entries", entries)
        .value("bytes", bytes)
        .value("other", usage.other)
        .value("reserved", usage.reserved)
        .value("files", usage.files)
        .value("size", usage.len);
    object.end()
}
