"""Parses documents with the Python client's parsers.

usage: judge.py text|openmetrics FILE

FILE has a JSON list of documents. Prints one JSON line per document: {"error": ...}, or {"families": [...]} with
[name, type, unit, help, [[sample, labels, value, timestamp, exemplar], ...]]; numbers are Python's repr.
"""

import json
import sys

from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser

PARSERS = {
    'text': parser.text_string_to_metric_families,
    'openmetrics': openmetrics_parser.text_string_to_metric_families,
}


def number(value):
    return None if value is None else repr(float(value))


def labels(found):
    out = {}
    for name, value in found.items():
        out[name] = value
    return out


def sample(found):
    exemplar = None
    if found.exemplar:
        exemplar = [labels(found.exemplar.labels), number(found.exemplar.value),
                    number(found.exemplar.timestamp)]
    return [found.name, labels(found.labels), number(found.value), number(found.timestamp), exemplar]


def judge(parse, document):
    try:
        families = [[f.name, f.type, f.unit, f.documentation, [sample(s) for s in f.samples]]
                    for f in parse(document)]
    except Exception as error:
        return {'error': '%s: %s' % (type(error).__name__, error)}
    return {'families': families}


def main():
    parse = PARSERS[sys.argv[1]]
    with open(sys.argv[2], encoding='utf-8') as source:
        documents = json.load(source)
    for document in documents:
        print(json.dumps(judge(parse, document)))


if __name__ == '__main__':
    main()
