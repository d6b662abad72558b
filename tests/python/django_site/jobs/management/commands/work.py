"""Runs jobs and counts them."""

from django.core.management.base import BaseCommand

from jobs.metrics import ALIVE, JOBS, LAST


class Command(BaseCommand):
    help = 'Does jobs and counts them'

    def add_arguments(self, parser):
        parser.add_argument('jobs', type=int)

    def handle(self, *args, **options):
        ALIVE.set(1)
        for _ in range(options['jobs']):
            JOBS.inc()
        LAST.set_to_current_time()
