"""Counts to 5, sets a live gauge, and lives until it is terminated."""

import os
import signal

from prometheus_client import Counter, Gauge

Counter('steady_jobs_total', 'Jobs done.').inc(5)
Gauge('steady_busy', 'Disappears.', multiprocess_mode='livesum').set(1)
print('steady', os.getpid(), flush=True)
signal.pause()
