"""Parses a page with the Python client.

usage: python_parse.py text|openmetrics PAGE REPORT

Writes the processor seconds of the parser alone to REPORT.
"""

import sys
import time

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client import parser as text

form, page, report = sys.argv[1:]
parse = {"text": text, "openmetrics": openmetrics}[form].text_string_to_metric_families
with open(page, encoding="utf-8") as source:
    content = source.read()
start = time.process_time()
families = list(parse(content))
seconds = time.process_time() - start
assert families[0].samples
with open(report, "w") as out:
    out.write(f"{seconds}\n")
