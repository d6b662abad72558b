"""GET /pid answers with the id of the worker that handles it, /fail fails."""

import os

from django.http import HttpResponse
from django.urls import path

from jobs.metrics import ALIVE, REQUESTS


def pid(request):
    ALIVE.set(1)
    REQUESTS.labels('/pid').inc()
    return HttpResponse(str(os.getpid()), content_type='text/plain')


def fail(request):
    raise ValueError('as it is asked to')


urlpatterns = [path('pid', pid), path('fail', fail)]
