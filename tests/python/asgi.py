"""The application of app.py for ASGI servers.

Run it with uvicorn from this directory, as asgi:application. GET /pid returns the pid of the worker, and any other
request returns ok.
"""

import os
import time

from app import ALIVE, INPROGRESS, LAST, LATENCY, REQUESTS


async def application(scope, receive, send):
    if scope['type'] != 'http':
        return
    started = time.perf_counter()
    ALIVE.set(1)
    LAST.set_to_current_time()
    with INPROGRESS.track_inprogress():
        body = str(os.getpid()).encode() if scope['path'] == '/pid' else b'ok'
        REQUESTS.labels(scope['path']).inc()
        LATENCY.observe(time.perf_counter() - started)
        headers = [(b'content-type', b'text/plain; charset=utf-8'),
                   (b'content-length', str(len(body)).encode())]
        await send({'type': 'http.response.start', 'status': 200, 'headers': headers})
        await send({'type': 'http.response.body', 'body': body})
