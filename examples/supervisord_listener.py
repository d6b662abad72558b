"""An event listener for supervisord: calls `multiprom mark-process-dead` with each process that has ended."""

import os
import subprocess
import sys


def fields(text):
    return dict(field.split(':', 1) for field in text.split())


def main():
    directory = os.environ['PROMETHEUS_MULTIPROC_DIR']
    while True:
        sys.stdout.write('READY\n')
        sys.stdout.flush()
        header = sys.stdin.readline()
        if not header:
            return
        event = fields(sys.stdin.read(int(fields(header)['len'])))
        command = ['multiprom', 'mark-process-dead', '--dir', directory, event['pid']]
        # Standard output belongs to supervisord.
        subprocess.run(command, check=False, stdout=sys.stderr)
        sys.stdout.write('RESULT 2\nOK')
        sys.stdout.flush()


if __name__ == '__main__':
    main()
