"""For uWSGI: removes the live gauges of a worker that ends in order.

Only for sites where the Python client's own collector reads the directory too. It has to be the Python client's
function: the worker still has its files open here, and `multiprom mark-process-dead` leaves the files of a living
process alone. A worker that was killed runs no hook; multiprom sees its end all the same.
"""

import os

import uwsgi
from prometheus_client import multiprocess

uwsgi.atexit = lambda: multiprocess.mark_process_dead(os.getpid())
