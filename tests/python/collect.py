"""Merges a multiprocess directory with the installed prometheus_client and prints the result.

usage: collect.py DIR [jsonl|text|openmetrics]

jsonl (the default) is one JSON object per sample in collector order; text and
openmetrics are the client's own exposition of the merged families. Files are
read in the order of their names. Works with every release since 0.3.1.

A jsonl object has the members family, type, help, name, labels and value (a hex
float, nan, inf or -inf). A family without samples is one object whose name is
null. Families of a min or max gauge mode with a NaN among their inputs also have
"nan_minmax": true, because the client's result then depends on the order of files.
"""

import glob
import json
import os
import sys

MINMAX_MODES = ('min', 'livemin', 'max', 'livemax')


def client_modules():
    """Returns the client package and its multiprocess module.

    Releases before 0.4.0 only define the multiprocess classes when the
    environment asks for them, and all releases choose the value class at import.
    """
    for name in ('PROMETHEUS_MULTIPROC_DIR', 'prometheus_multiproc_dir'):
        os.environ.setdefault(name, '.')
    import prometheus_client
    import prometheus_client.multiprocess
    return prometheus_client, prometheus_client.multiprocess


class SortedGlob:
    """Replaces the glob module; results are sorted by name."""

    @staticmethod
    def glob(pattern):
        return sorted(glob.glob(pattern))


def raw_entries(path):
    """Yields the (key, value) pairs of one file, as the release reads them."""
    try:
        from prometheus_client.mmap_dict import MmapedDict
    except ImportError:
        from prometheus_client.core import _MmapedDict
        opened = _MmapedDict(path, read_mode=True)
        entries = list(opened.read_all_values())
        opened.close()
    else:
        entries = MmapedDict.read_all_values_from_file(path)
    for entry in entries:
        yield entry[0], entry[1]


def nan_minmax_families(directory):
    """Returns the names of the families whose min or max gauges have a NaN input."""
    names = set()
    for path in SortedGlob.glob(os.path.join(directory, '*.db')):
        parts = os.path.basename(path).split('_')
        if parts[0] == 'gauge' and parts[1] in MINMAX_MODES:
            for key, value in raw_entries(path):
                if value != value:
                    names.add(json.loads(key)[0])
    return names


def line(family, sample, nan_minmax=False):
    """Returns one line of the jsonl format; sample is None for an empty family."""
    record = {
        'family': family.name,
        'type': family.type,
        'help': family.documentation,
        'name': None,
        'labels': {},
        'value': None,
    }
    if sample is not None:
        record['name'] = sample[0]
        record['labels'] = sample[1]
        record['value'] = float(sample[2]).hex()
    if nan_minmax:
        record['nan_minmax'] = True
    return json.dumps(record, ensure_ascii=True, sort_keys=True)


def family_lines(families, nan_minmax=()):
    """Returns the jsonl lines of an iterable of metric families."""
    lines = []
    for family in families:
        marked = family.name in nan_minmax
        for sample in family.samples or [None]:
            lines.append(line(family, sample, marked))
    return lines


def collector(directory, registry=None):
    """Returns the release's collector of a directory, with a fixed order of files."""
    _, multiprocess = client_modules()
    multiprocess.glob = SortedGlob
    return multiprocess.MultiProcessCollector(registry, directory)


def directory_lines(directory):
    """Returns the jsonl lines that the release merges from a directory."""
    families = list(collector(directory).collect())
    return family_lines(families, nan_minmax_families(directory))


def exposition(directory, openmetrics):
    """Returns the release's own exposition of a directory, as bytes."""
    client, _ = client_modules()
    if openmetrics:
        from prometheus_client.openmetrics.exposition import generate_latest
    else:
        from prometheus_client.exposition import generate_latest
    registry = client.CollectorRegistry()
    collector(directory, registry)
    return generate_latest(registry)


def main():
    if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ['jsonl'], ['text'], ['openmetrics']):
        sys.exit('usage: collect.py DIR [jsonl|text|openmetrics]')
    directory = sys.argv[1]
    if sys.argv[2:] in ([], ['jsonl']):
        out = ''.join(each + '\n' for each in directory_lines(directory)).encode('ascii')
    else:
        out = exposition(directory, sys.argv[2] == 'openmetrics')
    sys.stdout.buffer.write(out)


if __name__ == '__main__':
    main()
