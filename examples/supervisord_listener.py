"""An event listener for supervisord: calls `multiprom mark-process-dead` with the pid of each process that has ended.

supervisord starts it; see the section `eventlistener:multiprom` of supervisord.conf. The command reads
the directory from PROMETHEUS_MULTIPROC_DIR. If the command is missing, fails or hangs, the listener writes one line to
standard error and continues with the next event.
"""

import subprocess
import sys

TIMEOUT_SECONDS = 5


def fields(text):
    return dict(field.split(':', 1) for field in text.split())


def mark_process_dead(pid):
    command = ['multiprom', 'mark-process-dead', pid]
    try:
        # supervisord's protocol uses standard input and output, so the command must not.
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, timeout=TIMEOUT_SECONDS)
    except Exception as error:
        print('cannot remove the live gauges of process', pid, error, file=sys.stderr, flush=True)


def main():
    while True:
        sys.stdout.write('READY\n')
        sys.stdout.flush()
        header = sys.stdin.readline()
        if not header:
            return
        event = fields(sys.stdin.read(int(fields(header)['len'])))
        mark_process_dead(event['pid'])
        sys.stdout.write('RESULT 2\nOK')
        sys.stdout.flush()


if __name__ == '__main__':
    main()
