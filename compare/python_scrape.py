"""One cold scrape by the Python client. Writes the text to standard output.

usage: python_scrape.py DIR REPORT

Writes the processor seconds of merge and text, without interpreter start and
imports, to REPORT.
"""

import sys
import time

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

directory, report = sys.argv[1:]
start = time.process_time()
registry = CollectorRegistry()
MultiProcessCollector(registry, path=directory)
text = generate_latest(registry)
seconds = time.process_time() - start

sys.stdout.buffer.write(text)
with open(report, "w") as out:
    out.write(f"{seconds}\n")
