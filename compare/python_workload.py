"""Writes what many processes of the Python client would have written.

usage: python_workload.py PROCESSES

The series are those of benches/workload/mod.rs. One process writes all files,
under a pid of its choice for each.
"""

import sys

from prometheus_client import values

COUNTERS = 1200
GAUGES = 80
HISTOGRAMS = 40
BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0]


def request(at):
    method = ("GET", "POST", "PUT", "DELETE")[at % 4]
    code = ("200", "201", "404", "500", "503")[at // 4 % 5]
    return (method, f"/api/v1/items/{at // 20}", code)


def write(pid):
    value = values.MultiProcessValue(lambda: pid)

    names = ("method", "route", "code")
    for at in range(COUNTERS):
        labels = request(at)
        cell = value("counter", "requests_total", "requests_total", names, labels, "Requests.")
        cell.inc(pid + at)

    text = "Something that goes up and down."
    for name, mode in (("queue_depth", "all"), ("in_flight", "livesum")):
        for at in range(GAUGES):
            cell = value("gauge", name, name, ("queue",), (f"queue-{at}",), text, mode)
            cell.set(pid * 0.25 + at)

    name, text = "latency_seconds", "Latency by route."
    for at in range(HISTOGRAMS):
        route = f"/api/v1/items/{at}"
        total = value("histogram", name, name + "_sum", ("route",), (route,), text)
        buckets = []
        for bound in [*map(str, BOUNDS), "+Inf"]:
            labels = (route, bound)
            buckets.append(value("histogram", name, name + "_bucket", ("route", "le"), labels, text))
        for step in range(20):
            observed = step * 0.37
            total.inc(observed)
            buckets[sum(observed > bound for bound in BOUNDS)].inc(1)


for process in range(int(sys.argv[1])):
    write(10_000 + process)
