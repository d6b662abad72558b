"""GET /pid returns the pid of the worker, /items/ID returns ok, and /fail raises an exception."""

import os

from django.http import HttpResponse
from django.urls import include, path

from jobs.metrics import ALIVE, REQUESTS


def pid(request):
    ALIVE.set(1)
    REQUESTS.labels('/pid').inc()
    return HttpResponse(str(os.getpid()), content_type='text/plain')


def items(request, item):
    REQUESTS.labels('/items').inc()
    return HttpResponse('ok', content_type='text/plain')


def fail(request):
    raise ValueError('as it is asked to')


urlpatterns = [
    path('pid', pid),
    path('items/<item>', items),
    path('fail', fail),
    path('', include('django_prometheus.urls')),
]
