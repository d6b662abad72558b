"""A FastAPI application with prometheus-fastapi-instrumentator.

Run it with uvicorn from this directory, as fastapi_app:app. GET /pid returns the pid of the worker, /items/ID
returns ok, and /fail raises an exception.
"""

import os

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from prometheus_fastapi_instrumentator import Instrumentator

app = FastAPI()
Instrumentator(should_instrument_requests_inprogress=True).instrument(app).expose(app)


@app.get('/pid', response_class=PlainTextResponse)
async def pid():
    return str(os.getpid())


@app.get('/items/{item}', response_class=PlainTextResponse)
async def items(item: str):
    return 'ok'


@app.get('/fail')
async def fail():
    raise ValueError('as it is asked to')
