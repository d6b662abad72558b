# gunicorn with the Python client, its directory served by `multiprom serve`:
#
#   PROMETHEUS_MULTIPROC_DIR=/run/app gunicorn -c gunicorn.conf.py app:application
#
# multiprom detects the end of a worker without a hook. The hook is for sites where the Python client's own
# collector reads the directory too: it removes the live gauges of the worker and nothing else. gunicorn goes
# on whatever happens to the command: a command that is missing, fails or hangs costs one line in the log.
#
# `serve` compacts no files of the Python client by default (--compact=own), as the Python client's own collector
# cannot read what is compacted. If nothing in the application uses that collector, use --compact=all: files of ended
# workers then do not pile up. `multiprom run` compacts all files in its own directory: give it --compact=own if the
# application serves metrics itself.

import os
import signal
import subprocess

TIMEOUT_SECONDS = 5


def detach():
    """Runs in the new process, before it becomes the command.

    The command is a grandchild of gunicorn, which therefore never waits for it and does not see its exit status:
    older releases of gunicorn, such as 23, take every child for a worker and shut down when one exits with
    status 3 or 4. The alarm outlives the exec and ends a command that hangs.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if os.fork():
        os._exit(0)
    signal.alarm(TIMEOUT_SECONDS)


def child_exit(server, worker):
    # Without a directory, the Python client keeps metrics in memory and there is nothing to remove.
    if not (os.environ.get('PROMETHEUS_MULTIPROC_DIR') or os.environ.get('prometheus_multiproc_dir')):
        return
    command = ['multiprom', 'mark-process-dead', str(worker.pid)]
    try:
        subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=detach).wait()
    except Exception as error:
        server.log.warning('cannot remove the live gauges of worker %s: %s', worker.pid, error)
