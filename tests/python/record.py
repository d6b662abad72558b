"""Records into a multiprocess directory under a chosen process identifier, and ends.

usage: record.py DIR ID STATEMENTS [ID STATEMENTS]...

Each ID is a process of its own: its STATEMENTS run with the names of prometheus_client and record into its files.
"""

import os
import sys


def main():
    if len(sys.argv) < 4 or len(sys.argv) % 2:
        sys.exit('usage: record.py DIR ID STATEMENTS [ID STATEMENTS]...')
    os.environ['PROMETHEUS_MULTIPROC_DIR'] = sys.argv[1]
    import prometheus_client
    from prometheus_client import values
    for identifier, statements in zip(sys.argv[2::2], sys.argv[3::2]):
        values.ValueClass = values.MultiProcessValue(lambda: identifier)
        exec(statements, dict(vars(prometheus_client)))


if __name__ == '__main__':
    main()
