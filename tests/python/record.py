"""Records into a multiprocess directory with chosen process ids, and exits.

usage: record.py DIR ID STATEMENTS [ID STATEMENTS]...

Executes STATEMENTS with the names of prometheus_client for each ID; they record into the files of that id.
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
