"""A Flask application with prometheus-flask-exporter.

Run it with gunicorn from this directory, as flask_app:app. GET /pid returns the pid of the worker, /items/ID returns
ok, and /fail raises an exception.
"""

import os

from flask import Flask
from prometheus_flask_exporter.multiprocess import GunicornInternalPrometheusMetrics

app = Flask(__name__)
metrics = GunicornInternalPrometheusMetrics(app, group_by='endpoint')
metrics.info('app_info', 'Information about the "application"', version='1.0')


@app.route('/pid')
@metrics.gauge('in_progress', 'Requests in progress')
def pid():
    return str(os.getpid())


@app.route('/items/<item>')
@metrics.counter('items_by_id', 'Requests by item', labels={'item': lambda: 'id-é-"%s"' % 1})
@metrics.summary('items_latency_seconds', 'Latencies by status', labels={'status': lambda r: r.status_code})
@metrics.histogram('items_size_bytes', 'Sizes', buckets=(0.001, 0.1, 1))
def items(item):
    return 'ok'


@app.route('/fail')
def fail():
    raise ValueError('as it is asked to')
