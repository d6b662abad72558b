"""Short-lived workers of the Python client, forked from one parent like those of gunicorn.

usage: churn.py DIR PER_MINUTE

Forks until its standard input ends, then prints the counts of the workers, as JSON. In its own
pid namespace it makes the kernel assign pids of workers that have just ended to new workers.
"""

import json
import os
import random
import select
import signal
import sys
import time

KILLED_OF = 10


def choose_next_pid(rng):
    """Makes the kernel assign one of few pids to the next process, if that is permitted."""
    last = 1 + (rng.randrange(8) if rng.random() < 0.5 else rng.randrange(800))
    try:
        with open('/proc/sys/kernel/ns_last_pid', 'w') as file:
            file.write(str(last))
    except OSError:
        return


def work(metrics, jobs):
    counter, histogram, livesum, highest = metrics
    livesum.inc(jobs)
    highest.set(jobs)
    for job in range(jobs):
        counter.labels('even' if job % 2 == 0 else 'odd').inc()
        histogram.observe(job)


def spawn(metrics, jobs, is_killed):
    """Runs one worker; it has counted its jobs when this returns."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        work(metrics, jobs)
        os.write(write, b'.')
        if is_killed:
            signal.pause()
        os._exit(0)
    os.close(write)
    has_counted = os.read(read, 1) == b'.'
    os.close(read)
    if is_killed:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not has_counted or (status != 0 and not is_killed):
        sys.exit('churn.py: a worker failed')
    return child


def main():
    directory, per_minute = sys.argv[1], float(sys.argv[2])
    os.environ['PROMETHEUS_MULTIPROC_DIR'] = directory
    from prometheus_client import Counter, Gauge, Histogram
    metrics = (
        Counter('python_jobs_total', 'Jobs done.', ['parity'], registry=None),
        Histogram('python_size', 'Sizes.', buckets=[10, 100], registry=None),
        Gauge('python_busy', 'Disappears.', multiprocess_mode='livesum', registry=None),
        Gauge('python_highest', 'Stays.', multiprocess_mode='max', registry=None),
    )
    rng = random.Random(1)
    in_namespace = os.getpid() < 10
    workers = total = 0
    pids = set()
    start = time.monotonic()
    while True:
        due = start + workers * 60 / per_minute
        readable, _, _ = select.select([0], [], [], max(0, due - time.monotonic()))
        if readable:
            break
        jobs = rng.randint(1, 40)
        if in_namespace:
            choose_next_pid(rng)
        pids.add(spawn(metrics, jobs, workers % KILLED_OF == 0))
        workers += 1
        total += jobs
    print(json.dumps({'workers': workers, 'jobs': total, 'pids': len(pids)}))


if __name__ == '__main__':
    main()
