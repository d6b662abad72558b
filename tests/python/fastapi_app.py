"""A FastAPI application with prometheus-fastapi-instrumentator.

Run with uvicorn from this directory, as fastapi_app:app. GET /pid answers with the id of the worker that handles
it, /items/ID with ok, and /fail fails.
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
