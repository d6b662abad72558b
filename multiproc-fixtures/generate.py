"""Writes the fixture directory of the installed prometheus_client release.

usage: generate.py [--check]

The directory is named after the release and sits beside this file. It must not
exist: fixtures are evidence of what a release wrote, and are never overwritten.
With --check only looks for that. Run by ./generate with each release in turn.
"""

import importlib.metadata
import os
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'tests', 'python'))
sys.dont_write_bytecode = True

# Process identifiers; the last process is marked dead.
IDENTIFIERS = (101, 1000, 99)
BLOCK = 4096


def write_process(index, identifier):
    """Runs the workload as one process, with a fixed identifier."""
    import prometheus_client
    from workload import run
    try:
        from prometheus_client import values
    except ImportError:
        # Before 0.4.0 the hook is the parameter of a private function.
        from prometheus_client import core
        core._ValueClass = core._MultiProcessValue(lambda: identifier)
    else:
        values.ValueClass = values.MultiProcessValue(lambda: identifier)
    run(prometheus_client, index)


def shrink(path):
    """Cuts the unused, all zero end of a file at the next block boundary."""
    with open(path, 'r+b') as file:
        data = file.read()
        used = struct.unpack_from('<i', data)[0]
        size = min(len(data), (used + BLOCK - 1) // BLOCK * BLOCK)
        if used <= 8 or any(data[used:]):
            raise RuntimeError('%s: not what was expected of a written file' % path)
        file.truncate(size)


def main():
    release = importlib.metadata.version('prometheus_client')
    target = os.path.join(HERE, release)
    if os.path.exists(target):
        sys.exit('generate.py: multiproc-fixtures/%s exists; fixtures are never overwritten' % release)
    if sys.argv[1:] == ['--check']:
        return
    if sys.argv[1:]:
        sys.exit('usage: generate.py [--check]')
    os.mkdir(target)
    os.environ['PROMETHEUS_MULTIPROC_DIR'] = target
    os.environ['prometheus_multiproc_dir'] = target
    for index, identifier in enumerate(IDENTIFIERS):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                write_process(index, identifier)
                status = 0
            except BaseException:
                import traceback
                traceback.print_exc()
            finally:
                os._exit(status)
        if os.waitpid(child, 0)[1] != 0:
            sys.exit('generate.py: a process of release %s failed' % release)

    from prometheus_client.multiprocess import mark_process_dead
    mark_process_dead(IDENTIFIERS[-1], target)
    for name in sorted(os.listdir(target)):
        shrink(os.path.join(target, name))

    from collect import directory_lines
    with open(os.path.join(target, 'expected.jsonl'), 'w', encoding='ascii') as out:
        for each in directory_lines(target):
            out.write(each + '\n')


if __name__ == '__main__':
    main()
