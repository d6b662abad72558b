"""Counts to 5, holds a live gauge, and lives until it is ended."""

import os
import signal

from prometheus_client import Counter, Gauge

Counter('steady_jobs_total', 'Jobs done.').inc(5)
Gauge('steady_busy', 'Leaves.', multiprocess_mode='livesum').set(1)
print('steady', os.getpid(), flush=True)
signal.pause()
