"""A hook for uWSGI that removes the live gauges of a worker that exits normally:

    PROMETHEUS_MULTIPROC_DIR=/run/app uwsgi --ini uwsgi.ini --import uwsgi_hook --module app:application

Only for sites where the Python client's own collector reads the directory too. The hook calls a function of the Python
client, because the worker still has its files open and `multiprom mark-process-dead` does not change files of a living
process. A worker that is killed runs no hook; multiprom detects its end anyway. The hook never prevents the end of the
worker: an error is logged in one line, and the alarm ends a hook that hangs.
"""

import os
import signal
import sys

import uwsgi

TIMEOUT_SECONDS = 5


def remove_live_gauges():
    # The default action of the signal ends the worker, which is about to end anyway.
    signal.alarm(TIMEOUT_SECONDS)
    # Without a directory, the Python client keeps metrics in memory, and there are no files to remove.
    if not (os.environ.get('PROMETHEUS_MULTIPROC_DIR') or os.environ.get('prometheus_multiproc_dir')):
        return
    try:
        from prometheus_client import multiprocess
        multiprocess.mark_process_dead(os.getpid())
    except Exception as error:
        print('cannot remove the live gauges of worker', os.getpid(), error, file=sys.stderr)


uwsgi.atexit = remove_live_gauges
