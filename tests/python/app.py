"""A small WSGI application that uses the unmodified Python client.

Run it with gunicorn from this directory, as app:application. GET /pid returns the pid
of the worker, GET /die kills the worker, and any other request returns ok.
"""

import os
import signal
import time

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter('app_requests_total', 'Requests handled', ['path'])
LATENCY = Histogram('app_latency_seconds', 'Time of a request')
INPROGRESS = Gauge('app_inprogress', 'Requests being handled', multiprocess_mode='livesum')
LAST = Gauge('app_last_request_timestamp_seconds', 'Time of the last request of a worker')
ALIVE = Gauge('app_alive', 'Living workers', multiprocess_mode='livesum')


def application(environ, start_response):
    started = time.perf_counter()
    path = environ.get('PATH_INFO', '')
    if path == '/die':
        os.kill(os.getpid(), signal.SIGKILL)
    ALIVE.set(1)
    LAST.set_to_current_time()
    with INPROGRESS.track_inprogress():
        body = str(os.getpid()).encode() if path == '/pid' else b'ok'
        REQUESTS.labels(path).inc()
        LATENCY.observe(time.perf_counter() - started)
        start_response('200 OK', [
            ('Content-Type', 'text/plain; charset=utf-8'),
            ('Content-Length', str(len(body))),
        ])
        return [body]
