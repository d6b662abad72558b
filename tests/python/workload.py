"""A fixed set of metrics and updates that covers the whole format.

Used by worker.py and by the fixture generator. Has every metric type and gauge mode
of the installed release, and label values and values that are difficult to encode,
in a form that all releases since 0.3.1 accept.
"""

ODD_LABEL_VALUES = [
    '',
    '/',
    'say "hi"',
    'back\\slash',
    'line\nbreak',
    'h\u00e9llo w\u00f6rld',
    '\u2603 \U0001f600',
    'del\x7f',
    'tab\tand\rreturn',
    'u\u2028separator',
    ' spaces ',
    '\\n"\\\\',
    '{a="b"}',
    '\x01\x1f',
]

ODD_VALUES = {
    'nan': float('nan'),
    'inf': float('inf'),
    'minus_inf': float('-inf'),
    'minus_zero': -0.0,
    'smallest': 5e-324,
    'largest': 1.7976931348623157e308,
    'tenth': 0.1,
    'integer': 9007199254740993.0,
    'million': 1e6,
    'negative': -2.5e-7,
}

ODD_HELP = 'A "quoted" back\\slash,\na second line and \u00fcn\u00efcode \U0001f600'


def gauge_modes(client):
    """Returns the sorted gauge modes of the installed release."""
    gauge = getattr(client.Gauge, '__wrapped__', client.Gauge)
    return sorted(gauge._MULTIPROC_MODES)


def run(client, index):
    """Creates the metrics and makes the updates of the process with this index."""
    first = index == 0
    _counters(client, index, first)
    _summaries(client, index, first)
    _histograms(client, index, first)
    _gauges(client, index, first)


def _counters(client, index, first):
    plain = client.Counter('requests_total', 'Requests served', registry=None)
    plain.inc()
    plain.inc(index + 0.1)
    client.Counter('never_incremented', 'Stays at zero', registry=None)
    if index != 1:
        only = client.Counter('some_processes', 'Missing from one process', registry=None)
        only.inc(1e6 * (index + 1))
    labelled = client.Counter(
        'http_requests', 'Requests by method and path', ['path', 'method'],
        namespace='app', subsystem='web', registry=None)
    labelled.labels('/', 'GET').inc(3)
    labelled.labels(path='/%d' % index, method='POST').inc(index)
    odd = client.Counter('odd_labels', ODD_HELP, ['zulu', 'Alpha', 'mike'], registry=None)
    for number, value in enumerate(ODD_LABEL_VALUES):
        if first or number % 3 == index % 3:
            odd.labels(value, 'x', str(number)).inc(number + 1)
    values = client.Counter('odd_counts', 'Counters of odd amounts', ['amount'], registry=None)
    for name in ('nan', 'inf', 'minus_zero', 'smallest', 'largest', 'tenth'):
        values.labels(name).inc(ODD_VALUES[name])


def _summaries(client, index, first):
    plain = client.Summary('payload_bytes', 'Payload size', registry=None)
    for size in (512, 0.5, 1e10):
        plain.observe(size * (index + 1))
    labelled = client.Summary('render_seconds', 'Time by page', ['page'], registry=None)
    labelled.labels(ODD_LABEL_VALUES[6]).observe(0.25)
    if first:
        labelled.labels('rare').observe(float('nan'))


def _histograms(client, index, first):
    plain = client.Histogram('latency_seconds', 'Latency', registry=None)
    for seconds in (0.004, 0.005, 0.3, 11, 2.5 * index):
        plain.observe(seconds)
    wide = client.Histogram(
        'size_bytes', 'Sizes in wide buckets', ['kind', 'zone'], registry=None,
        buckets=(1, 1000.5, 1e6, 1e10))
    wide.labels('a"b', 'z').observe(1e6)
    wide.labels('a"b', 'z').observe(2e10)
    wide.labels('kind%d' % index, '').observe(999)
    negative = client.Histogram(
        'offset', 'Negative and tiny bounds', registry=None,
        buckets=(-10, -0.5, 0, 1e-9, 123456789.25))
    for value in (-11, -1, 0, 5e-324, 1e9):
        negative.observe(value)
    bounds = (1, 2, 4) if index % 2 == 0 else (1, 3, 4, 8)
    differing = client.Histogram(
        'bounds_differ', 'Other bounds in other processes', registry=None, buckets=bounds)
    for value in (0.5, 2, 3, 7):
        differing.observe(value)
    nans = client.Histogram(
        'with_nan', 'A NaN observation', registry=None, buckets=(1,))
    nans.observe(0.5)
    if first:
        nans.observe(float('nan'))


def _gauges(client, index, first):
    for mode in gauge_modes(client):
        recent = mode.endswith('mostrecent')
        plain = client.Gauge(
            'level_' + mode, 'A gauge of mode ' + mode, registry=None, multiprocess_mode=mode)
        plain.set((index + 1) * 1.5)
        if not recent:
            plain.inc(0.1)
            plain.dec(2)
        labelled = client.Gauge(
            'odd_' + mode, 'Odd values in mode ' + mode, ['value', 'source'],
            registry=None, multiprocess_mode=mode)
        for number, name in enumerate(sorted(ODD_VALUES)):
            # With NaN, the result of min and max depends on the order of files.
            if name == 'nan' and mode.endswith(('min', 'max')):
                continue
            if number % 2 == index % 2 or first:
                labelled.labels(name, 'any').set(ODD_VALUES[name])
        zero = client.Gauge(
            'zero_' + mode, 'Zeros of both signs', registry=None, multiprocess_mode=mode)
        zero.set(-0.0 if first else 0.0)
        client.Gauge(
            'unset_' + mode, 'Declared but not set', registry=None, multiprocess_mode=mode)
        unset = client.Gauge(
            'unset_child_' + mode, 'A child that is not set', ['a'],
            registry=None, multiprocess_mode=mode)
        unset.labels('never')
        if index == 1:
            unset.labels('once').set(1)
