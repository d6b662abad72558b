# gunicorn with the Python client; `multiprom serve` serves the directory:
#
#   PROMETHEUS_MULTIPROC_DIR=/run/app gunicorn -c gunicorn.conf.py app:application
#
# multiprom detects the end of a worker without a hook. The hook is for sites where the Python client's own
# collector reads the directory too: it removes the live gauges of the worker and nothing else. The hook never
# stops gunicorn: if the command is missing, fails or hangs, one line is logged.
#
# `serve` does not compact files of the Python client by default (--compact=own), as the Python client's own collector
# cannot read the archive of compacted files. If the application does not use that collector, use --compact=all, so
# that files of ended workers do not accumulate. `multiprom run` compacts all files in its own directory: set
# --compact=own if the application serves metrics itself.

import os
import signal
import subprocess

TIMEOUT_SECONDS = 5


def detach():
    """Runs in the new process, before it becomes the command.

    The command is a grandchild of gunicorn, which therefore does not wait for it and does not use its exit status:
    older releases of gunicorn, such as 23, treat every child as a worker and shut down when one exits with
    status 3 or 4. The alarm stays set after the exec and ends a command that hangs.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if os.fork():
        os._exit(0)
    signal.alarm(TIMEOUT_SECONDS)


def child_exit(server, worker):
    # Without a directory, the Python client keeps metrics in memory, and there are no files to remove.
    if not (os.environ.get('PROMETHEUS_MULTIPROC_DIR') or os.environ.get('prometheus_multiproc_dir')):
        return
    command = ['multiprom', 'mark-process-dead', str(worker.pid)]
    try:
        subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=detach).wait()
    except Exception as error:
        server.log.warning('cannot remove the live gauges of worker %s: %s', worker.pid, error)
