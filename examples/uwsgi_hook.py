"""For uWSGI: removes the live gauges of a worker that ends in order.

Only for sites where the Python client's own collector reads the directory too. It has to be the Python client's
function: the worker still has its files open here, and `multiprom mark-process-dead` leaves the files of a living
process alone. A worker that was killed runs no hook; multiprom detects its end all the same. The worker ends
whatever happens to the hook: an error costs one line in the log, and a hook that hangs is ended by the alarm.
"""

import os
import signal
import sys

import uwsgi

TIMEOUT_SECONDS = 5


def remove_live_gauges():
    # The default action of the signal ends the worker, which is about to end anyway.
    signal.alarm(TIMEOUT_SECONDS)
    # Without a directory, the Python client keeps metrics in memory and there is nothing to remove.
    if not (os.environ.get('PROMETHEUS_MULTIPROC_DIR') or os.environ.get('prometheus_multiproc_dir')):
        return
    try:
        from prometheus_client import multiprocess
        multiprocess.mark_process_dead(os.getpid())
    except Exception as error:
        print('cannot remove the live gauges of worker', os.getpid(), error, file=sys.stderr)


uwsgi.atexit = remove_live_gauges
