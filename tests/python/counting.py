"""Records N jobs into DIR with the installed prometheus_client, and exits.

usage: counting.py DIR N [hold | fork | exec]

With hold it prints ready after it has recorded, and lives until its standard input
ends. With fork it also forks a child, which lives until it is killed and whose pid
follows ready. With exec it executes another program after ready. The metrics are those
of tests/programs/counting.rs with the prefix py_, and one gauge for each mode in MODES.
"""

import os
import signal
import sys

MODES = ('all', 'liveall', 'max', 'livesum', 'sum', 'mostrecent')


def main():
    if sys.argv[3:] not in ([], ['hold'], ['fork'], ['exec']):
        sys.exit('usage: counting.py DIR N [hold | fork | exec]')
    os.environ['PROMETHEUS_MULTIPROC_DIR'] = sys.argv[1]
    jobs = int(sys.argv[2])
    import prometheus_client as client
    counter = client.Counter('py_jobs', 'Jobs done.')
    size = client.Histogram('py_job_size_bytes', 'Sizes of jobs.', buckets=(10, 100))
    time = client.Summary('py_job_duration_seconds', 'Durations.')
    for mode in MODES:
        name = 'py_queue_%s_ratio' % mode
        client.Gauge(name, 'Merged by its mode.', multiprocess_mode=mode).set(jobs)
    for job in range(jobs):
        counter.inc()
        size.observe(job)
        time.observe(0.5)
    child = ''
    if sys.argv[3:] == ['fork']:
        child = os.fork()
        if child == 0:
            while True:
                signal.pause()
    if sys.argv[3:]:
        print('ready', child, flush=True)
    if sys.argv[3:] == ['exec']:
        os.execvp('cat', ['cat'])
    if sys.argv[3:]:
        sys.stdin.read()


if __name__ == '__main__':
    main()
