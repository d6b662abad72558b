"""Parses an exposition on standard input with the Python client's parser.

usage: parse.py text|openmetrics

Prints one JSON object per sample, in the format of collect.py. On a parse error it
prints the error to standard error and exits with status 1. Needs a current release.
"""

import sys

from collect import family_lines


def main():
    if len(sys.argv) != 2 or sys.argv[1] not in ('text', 'openmetrics'):
        sys.exit('usage: parse.py text|openmetrics')
    if sys.argv[1] == 'text':
        from prometheus_client.parser import text_string_to_metric_families as parse
    else:
        from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
    try:
        # Decode the bytes here, as text mode would translate carriage returns.
        document = sys.stdin.buffer.read().decode('utf-8')
        lines = family_lines(parse(document))
    except Exception as error:
        print('%s: %s' % (type(error).__name__, error), file=sys.stderr)
        sys.exit(1)
    sys.stdout.write(''.join(each + '\n' for each in lines))


if __name__ == '__main__':
    main()
