"""A Celery application that counts its tasks, with a broker in the directory of CELERY_DIR.

main() sends the number of tasks in its first argument, waits for their results and prints the pids that ran them,
one per line.
"""

import os
import sys

from celery import Celery
from prometheus_client import Counter, Gauge, Histogram

HOME = os.environ['CELERY_DIR']
TASKS = Counter('celery_tasks_total', 'Tasks run', ['name'])
DURATION = Histogram('celery_task_duration_seconds', 'Time of a task')
ALIVE = Gauge('celery_alive', 'Living processes', multiprocess_mode='livesum')

app = Celery('celery_app', broker='filesystem://', backend='file://' + os.path.join(HOME, 'results'))
app.conf.update(
    broker_transport_options={
        'data_folder_in': os.path.join(HOME, 'queue'),
        'data_folder_out': os.path.join(HOME, 'queue'),
        'control_folder': os.path.join(HOME, 'control'),
        'polling_interval': 0.05,
    },
    broker_connection_retry_on_startup=False,
    worker_prefetch_multiplier=1,
    worker_enable_remote_control=False,
)


@app.task
def work():
    ALIVE.set(1)
    with DURATION.time():
        TASKS.labels('work').inc()
    return os.getpid()


def main():
    results = [work.delay() for _ in range(int(sys.argv[1]))]
    for result in results:
        print(result.get(timeout=60, interval=0.02))
