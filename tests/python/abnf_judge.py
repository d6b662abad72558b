"""Says which lines are of the grammar of OpenMetrics.

usage: abnf_judge.py LINES

LINES holds a JSON list of lines with their line feeds. Prints a JSON list of true and false.
"""

import json
import pathlib
import sys

from abnf import ParseError, Rule

GRAMMAR = pathlib.Path(__file__).with_name('openmetrics.abnf')


class OpenMetrics(Rule):
    """The rules of the file beside this one."""


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
