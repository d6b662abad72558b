"""A WSGI application without metrics. Every request returns the pid of the worker."""

import os


def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain; charset=utf-8')])
    return [str(os.getpid()).encode()]
