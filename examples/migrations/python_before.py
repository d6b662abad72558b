"""Three worker processes with the Python client in multiprocess mode, and their merged
page. python_after.rs is the same program with multiprom.

usage: PROMETHEUS_MULTIPROC_DIR=DIR python_before.py
"""

import os
import sys

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary
from prometheus_client import generate_latest, multiprocess

JOBS = Counter('jobs_total', 'Jobs done.', ['queue'])
SIZE = Summary('job_size_bytes', 'Sizes of jobs.')
LATENCY = Histogram('latency_seconds', 'Latency.', buckets=(0.1, 1.0))
BUSY = Gauge('busy', 'Jobs in progress.', multiprocess_mode='livesum')
LARGEST = Gauge('largest_job_bytes', 'The largest job.', multiprocess_mode='max')


@LATENCY.time()
def wait():
    pass


def work(worker):
    BUSY.inc()
    for job in range(worker + 1):
        JOBS.labels('mail' if job % 2 == 0 else 'print').inc()
        SIZE.observe(100 * job)
        LARGEST.set(100 * job)
        wait()


def main():
    workers = []
    for worker in range(3):
        (done, begin), (end, release) = os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            work(worker)
            os.write(begin, b'.')
            os.read(end, 1)
            os._exit(0)
        os.read(done, 1)
        workers.append((pid, release))
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    sys.stdout.write(generate_latest(registry).decode())
    sys.stdout.flush()
    for pid, release in workers:
        os.write(release, b'.')
        os.waitpid(pid, 0)


main()
