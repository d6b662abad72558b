"""Checks lines against the grammar of OpenMetrics.

usage: abnf_judge.py LINES

LINES is a file with a JSON list of lines, including their line feeds. Prints a JSON list of booleans.
"""

import json
import pathlib
import sys

from abnf import ParseError, Rule

GRAMMAR = pathlib.Path(__file__).with_name('openmetrics.abnf')


class OpenMetrics(Rule):
    """The rules in GRAMMAR."""


def is_line(text):
    try:
        OpenMetrics('line').parse_all(text)
    except ParseError:
        return False
    return True


def main():
    for rule in GRAMMAR.read_text(encoding='ascii').splitlines():
        if not rule.startswith(';'):
            OpenMetrics.create(rule)
    with open(sys.argv[1], encoding='utf-8') as source:
        lines = json.load(source)
    print(json.dumps([is_line(line) for line in lines]))


if __name__ == '__main__':
    main()
