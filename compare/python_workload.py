"""Records into PROMETHEUS_MULTIPROC_DIR by many processes of the Python client.

usage: python_workload.py PROCESSES SHARED OWN

Each process creates SHARED samples that all processes have and OWN samples that no
other process has, as benches/workload/mod.rs does. All are forked from this one, a
few at a time.
"""

import os
import sys

from prometheus_client import Counter, Gauge, Histogram, Summary

AT_ONCE = 4
HISTOGRAM_SAMPLES = 16
SUMMARY_SAMPLES = 2


def request(group, at):
    method = ("GET", "POST", "PUT", "DELETE")[at % 4]
    code = ("200", "201", "404", "500", "503")[at // 4 % 5]
    return method, f"/api/v1/{group}/{at // 20}", code


class Families:
    def __init__(self):
        self.requests = Counter("requests_total", "Requests.", ("method", "route", "code"))
        self.depth = Gauge("queue_depth", "Waiting jobs.", ("queue",), multiprocess_mode="sum")
        self.peak = Gauge("queue_peak", "Most waiting jobs so far.", ("queue",), multiprocess_mode="max")
        self.latency = Histogram("latency_seconds", "Latency by route.", ("route",))
        self.size = Summary("response_bytes", "Size by route.", ("route",))

    def record(self, number, samples, group):
        gauges = samples // 20
        histograms = samples * 3 // 10 // HISTOGRAM_SAMPLES
        summaries = samples // 20 // SUMMARY_SAMPLES
        counters = samples - gauges - histograms * HISTOGRAM_SAMPLES - summaries * SUMMARY_SAMPLES
        for at in range(counters):
            self.requests.labels(*request(group, at)).inc(number + at)
        for at in range(gauges):
            family = self.peak if at % 2 else self.depth
            family.labels(f"{group}-{at // 2}").set(number * 0.25 + at)
        for at in range(histograms):
            latency = self.latency.labels(f"/api/v1/{group}/{at}")
            for step in range(4):
                latency.observe(step * 0.37)
        for at in range(summaries):
            self.size.labels(f"/api/v1/{group}/{at}").observe(number + at * 0.1)


def work(number, shared, own):
    families = Families()
    families.record(number, shared, "items")
    families.record(number, own, f"process-{number}")


def wait():
    _, status = os.wait()
    if status:
        sys.exit(f"a worker ended with {status:#x}")


processes, shared, own = map(int, sys.argv[1:])
running = 0
for number in range(processes):
    if running == AT_ONCE:
        wait()
        running -= 1
    if os.fork() == 0:
        try:
            work(number, shared, own)
        except BaseException as error:
            print(f"python_workload.py: {error}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    running += 1
for _ in range(running):
    wait()
