"""Writes random multiprocess directories with the real client.

usage: random_dirs.py [--clashes] [--tame] [--utf8-names] OUT SEED COUNT

Creates OUT/0000, OUT/0001, ... each with .db files and an expected.jsonl with the
samples that the client's own collector merges from them (format: see collect.py).
The same seed and release create the same bytes, as the clock of mostrecent gauges
is simulated. All processes of a directory are value classes with their own process
id in this one process.

A directory has 1 to 5 processes. A process sometimes forks, sometimes ends and is
restarted with the same id, and is sometimes marked dead. Help texts and histogram
bounds sometimes differ between processes.

--clashes     families with one name and several types, gauge modes or label names, families
              with names of samples of other families, labels pid and env, and few pids
--tame        only values and names that strict OpenMetrics parsers accept: no negative or NaN
              counters, counts and sums, negative bounds, or label names that begin with _
--utf8-names  metric and label names with any characters (newest release only)
"""

import argparse
import gc
import os
import random
import sys
import types

from collect import client_modules, directory_lines
from workload import ODD_HELP, ODD_LABEL_VALUES, ODD_VALUES, gauge_modes

TYPES = ('counter', 'gauge', 'gauge', 'histogram', 'summary')
WORDS = ('http', 'queue', 'cache_hits', 'x', 'Db', 'ns:job', '_hidden', 'io2', 'seconds_of_cpu')
LABEL_NAMES = ('method', 'path', 'a', 'b', 'A', 'B', '_x', 'code', 'zone_2', 'Le', 'PID', 'le_')
UTF8_NAMES = ('http.requests', 'gr\u00f6\u00dfe', 'with space', 'a-b/c', 'q"uote', '\u2603')
BOUNDS = (-1e6, -2.5, -1.0, -1e-9, 0.0, 1e-300, 1e-7, 0.0001, 0.005, 0.1, 0.25, 0.5, 1, 2.5, 5,
          10, 99.99, 1000, 123456.789, 1e6, 1234567, 1e7, 1e10, 1.5e15, 1e16, 1e21, 1e22, 1e300)
ALPHABET = 'abcXYZ019 _-.,:/\\"\'\n\t\r{}=#\u00e9\u00df\u4e2d\u0416\u2028\u00a0\x00\x7f\x85\ufeff\ufffd\U0001f600\U0010ffff'


class Clock:
    """The simulated time, which can stand still or step back."""

    def __init__(self, rng):
        self.rng = rng
        self.now = 1.7e9

    def time(self):
        self.now += self.rng.choice((-1.5, 0, 0, 0.25, 1, 1e-6))
        return self.now


def install_clock(clock):
    try:
        from prometheus_client import metrics
    except ImportError:
        sys.exit('random_dirs.py: needs prometheus_client 0.4.0 or newer')
    metrics.time = types.SimpleNamespace(time=clock.time)


def random_text(rng, limit):
    return ''.join(rng.choice(ALPHABET) for _ in range(rng.randint(0, limit)))


def random_help(rng):
    kind = rng.random()
    if kind < 0.1:
        return ''
    if kind < 0.3:
        return ODD_HELP
    if kind < 0.6:
        return random_text(rng, 40)
    return 'Help number %d' % rng.randint(0, 999)


def random_label_value(rng):
    kind = rng.random()
    if kind < 0.3:
        return rng.choice(ODD_LABEL_VALUES)
    if kind < 0.4:
        return random_text(rng, 300 if rng.random() < 0.05 else 12)
    return rng.choice(('GET', 'POST', '200', '500', 'a', 'b', '/index'))


def random_value(rng, nan=True):
    kind = rng.random()
    if kind < 0.03:
        return ODD_VALUES['nan'] if nan else 0.0
    if kind < 0.15:
        return rng.choice([value for value in ODD_VALUES.values() if value == value])
    if kind < 0.45:
        return float(rng.randint(-20, 20))
    if kind < 0.6:
        return rng.random() * 10.0 ** rng.randint(-320, 300)
    return rng.uniform(-100, 100)


def random_bounds(rng, tame):
    choice = [bound for bound in BOUNDS if bound >= 0] if tame else BOUNDS
    bounds = sorted(rng.sample(choice, rng.randint(1, 6)))
    if rng.random() < 0.2:
        bounds.append(float('inf'))
    return bounds


class Family:
    """One family and its variations in the processes of a directory."""

    def __init__(self, rng, number, modes, tame, utf8_names):
        self.type = rng.choice(TYPES)
        self.mode = rng.choice(modes)
        self.name = 'f%d_%s' % (number, rng.choice(WORDS))
        label_names = tuple(name for name in LABEL_NAMES if not tame or name[0] != '_')
        if utf8_names and rng.random() < 0.6:
            self.name = 'f%d%s' % (number, rng.choice(UTF8_NAMES))
            label_names = label_names + UTF8_NAMES
        if self.type == 'counter' and rng.random() < 0.5:
            self.name += '_total'
        self.namespace = rng.choice(('', '', 'ns'))
        self.unit = rng.choice(('', '', '', 'seconds', 'bytes'))
        self.help = random_help(rng)
        self.tame = tame
        # The family is declared in all processes, but never updated.
        self.idle = rng.random() < 0.1
        self.bounds = random_bounds(rng, tame)
        self.same_bounds = rng.random() < 0.7
        self.label_names = []
        if rng.random() < 0.7:
            self.label_names = rng.sample(label_names, rng.randint(1, 3))
        self.children = [
            [random_label_value(rng) for _ in self.label_names]
            for _ in range(rng.randint(1, 5))
        ]

    def clashing(self, rng, modes):
        """A family of the same name, with another type or mode."""
        other = Family.__new__(Family)
        other.__dict__.update(self.__dict__)
        other.type = rng.choice(TYPES)
        other.mode = rng.choice(modes)
        other.help = random_help(rng)
        if other.type == 'counter' and rng.random() < 0.5 and not other.unit:
            other.name = other.name + '_total'
        elif rng.random() < 0.5 and not other.unit:
            other.name = other.name + rng.choice(('_total', '_count', '_sum', '_bucket', '_created'))
        if rng.random() < 0.5:
            other.label_names = rng.sample(('pid', 'env', 'worker', 'exported_pid'), rng.randint(0, 2))
            other.children = [
                [rng.choice(('x', 'y', '7')) for _ in other.label_names] for _ in range(3)
            ]
        return other

    def declare(self, rng, client):
        """Creates and returns the metric of the current process."""
        arguments = {
            'namespace': self.namespace,
            'unit': self.unit,
            'registry': None,
        }
        names = list(self.label_names)
        if rng.random() < 0.2:
            rng.shuffle(names)
        help_text = self.help if rng.random() < 0.9 else random_help(rng)
        if self.type == 'counter':
            metric = client.Counter(self.name, help_text, names, **arguments)
        elif self.type == 'summary':
            metric = client.Summary(self.name, help_text, names, **arguments)
        elif self.type == 'histogram':
            bounds = self.bounds if self.same_bounds else random_bounds(rng, self.tame)
            metric = client.Histogram(self.name, help_text, names, buckets=bounds, **arguments)
        else:
            metric = client.Gauge(
                self.name, help_text, names, multiprocess_mode=self.mode, **arguments)
        return metric

    def observation(self, rng):
        if self.tame:
            return abs(random_value(rng, nan=False))
        return random_value(rng)

    def update(self, rng, metric):
        """Performs one random operation."""
        if self.label_names:
            values = dict(zip(self.label_names, rng.choice(self.children)))
            # The parent may have the names in another order than this process.
            metric = metric.labels(*(values[name] for name in metric._labelnames))
            if rng.random() < 0.1:
                return
        if self.idle:
            return
        if self.type == 'counter':
            amount = random_value(rng, nan=not self.tame)
            metric.inc(-amount if amount < 0 else amount)
        elif self.type == 'summary':
            metric.observe(self.observation(rng))
        elif self.type == 'histogram':
            on_bound = rng.random() < 0.4
            metric.observe(rng.choice(self.bounds) if on_bound else self.observation(rng))
        elif self.mode.endswith('mostrecent') or rng.random() < 0.5:
            metric.set(random_value(rng))
        elif rng.random() < 0.5:
            metric.inc(random_value(rng, nan=False))
        else:
            metric.dec(random_value(rng, nan=False))


def run_process(rng, client, values, identifier, families, fork_to):
    """Runs one process from start to end."""
    current = [identifier]
    values.ValueClass = values.MultiProcessValue(lambda: current[0])
    metrics = []
    for family in families:
        if rng.random() < 0.9:
            metrics.append((family, family.declare(rng, client)))
    if not metrics:
        return
    steps = rng.randint(0, 40)
    for step in range(steps):
        if fork_to is not None and step == steps // 2:
            current[0] = fork_to
        family, metric = rng.choice(metrics)
        family.update(rng, metric)


def write_directory(rng, client, multiprocess, values, directory, options):
    modes = gauge_modes(client)
    os.environ['PROMETHEUS_MULTIPROC_DIR'] = directory
    os.environ['prometheus_multiproc_dir'] = directory
    families = []
    for number in range(rng.randint(1, 7)):
        family = Family(rng, number, modes, options.tame, options.utf8_names)
        families.append(family)
        if options.clashes and rng.random() < 0.5:
            families.append(family.clashing(rng, modes))
    identifiers = rng.sample(range(1, 12 if options.clashes else 100000), 2 * 5)
    processes = rng.randint(1, 5)
    seen = []
    for number in range(processes):
        identifier, fork_to = identifiers[number], None
        kind = rng.random()
        if kind < 0.15:
            fork_to = identifiers[5 + number]
        elif kind < 0.3 and seen:
            identifier = rng.choice(seen)
        seen.append(identifier)
        run_process(rng, client, values, identifier, families, fork_to)
        if fork_to is not None:
            seen.append(fork_to)
    if rng.random() < 0.3:
        multiprocess.mark_process_dead(rng.choice(seen), directory)
    # Close the files of the processes, to which nothing refers any more.
    getattr(values, '_multi_process_cleanups', []).clear()
    values.ValueClass = None
    gc.collect()


def main():
    parser = argparse.ArgumentParser(description='Writes random multiprocess directories.')
    parser.add_argument('--clashes', action='store_true')
    parser.add_argument('--tame', action='store_true')
    parser.add_argument('--utf8-names', action='store_true')
    parser.add_argument('out')
    parser.add_argument('seed', type=int)
    parser.add_argument('count', type=int)
    options = parser.parse_args()

    client, multiprocess = client_modules()
    clock = Clock(random.Random(options.seed))
    install_clock(clock)
    from prometheus_client import values
    out = os.path.abspath(options.out)
    for number in range(options.count):
        # Each directory has its own seed, so that a single one can be recreated.
        rng = random.Random('%d/%d' % (options.seed, number))
        clock.rng, clock.now = rng, 1.7e9
        directory = os.path.join(out, '%04d' % number)
        os.makedirs(directory)
        write_directory(rng, client, multiprocess, values, directory, options)
        lines = directory_lines(directory)
        with open(os.path.join(directory, 'expected.jsonl'), 'w', encoding='ascii') as file:
            file.writelines(each + '\n' for each in lines)


if __name__ == '__main__':
    main()
