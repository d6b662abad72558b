"""Metrics of the site and its commands."""

from prometheus_client import Counter, Gauge

REQUESTS = Counter('site_requests_total', 'Requests handled', ['path'])
ALIVE = Gauge('site_alive', 'Processes that live', multiprocess_mode='livesum')
JOBS = Counter('site_jobs_total', 'Jobs done by commands')
LAST = Gauge('site_last_job_timestamp_seconds', 'When a command has ended', multiprocess_mode='mostrecent')
