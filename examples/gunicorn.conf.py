# gunicorn with the Python client, its directory served by `multiprom serve`:
#
#   PROMETHEUS_MULTIPROC_DIR=/run/app gunicorn -c gunicorn.conf.py app:application
#
# multiprom sees the end of a worker by itself. The hook is for sites where the Python client's own
# collector reads the directory too: it removes the worker's live gauges and nothing else.

import os
import subprocess


def child_exit(server, worker):
    directory = os.environ['PROMETHEUS_MULTIPROC_DIR']
    command = ['multiprom', 'mark-process-dead', '--dir', directory, str(worker.pid)]
    subprocess.run(command, check=False)
