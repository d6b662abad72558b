"""A WSGI application without metrics. GET /pid answers with the id of the worker that handles it."""

import os


def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain; charset=utf-8')])
    return [str(os.getpid()).encode()]
