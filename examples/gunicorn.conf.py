# gunicorn with the Python client, its directory served by `multiprom serve`:
#
#   PROMETHEUS_MULTIPROC_DIR=/run/app gunicorn -c gunicorn.conf.py app:application
#
# multiprom sees the end of a worker by itself. The hook is for sites where the Python client's own
# collector reads the directory too: it removes the worker's live gauges and nothing else.
#
# `serve` compacts no files of the Python client by default (--compact=own), as the Python client's own collector
# cannot read what is compacted. If nothing in the application uses that collector, use --compact=all: files of ended
# workers then do not pile up. `multiprom run` compacts all files in its own directory: give it --compact=own if the
# application serves metrics itself.

import os
import subprocess


def child_exit(server, worker):
    directory = os.environ['PROMETHEUS_MULTIPROC_DIR']
    command = ['multiprom', 'mark-process-dead', '--dir', directory, str(worker.pid)]
    subprocess.run(command, check=False)
