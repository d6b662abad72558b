"""A Starlette application with starlette_exporter.

Run it with uvicorn from this directory, as starlette_app:app. GET /pid returns the pid of the worker, /items/ID
returns ok, and /fail raises an exception.
"""

import os

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette_exporter import PrometheusMiddleware, handle_metrics


async def pid(request):
    return PlainTextResponse(str(os.getpid()))


async def items(request):
    return PlainTextResponse('ok')


async def fail(request):
    raise ValueError('as it is asked to')


app = Starlette(routes=[
    Route('/pid', pid),
    Route('/items/{item}', items),
    Route('/fail', fail),
    Route('/metrics', handle_metrics),
])
app.add_middleware(PrometheusMiddleware, app_name='shop', group_paths=True, prefix='web',
                   labels={'site': 'a "quoted" site'})
