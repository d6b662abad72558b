"""Runs workers of the unmodified Python client step by step.

usage: opener.py

Reads commands from standard input: `begin N DIR` starts worker N, which uses the process id 77 in DIR;
`step N` lets it take its next step. Before each step, worker N prints `N STEP TID`, and at its end `N end TID`.
"""

import builtins
import mmap
import os
import sys
import threading

os.environ['PROMETHEUS_MULTIPROC_DIR'] = '.'

from prometheus_client import mmap_dict, values  # noqa: E402

here = threading.local()


def pause(step):
    print(here.number, step, threading.get_native_id(), flush=True)
    here.go.acquire()


def paused(step, function):
    def call(*arguments, **options):
        pause(step)
        return function(*arguments, **options)
    return call


class Shim:
    """A wrapper of a module in which one function pauses."""

    def __init__(self, module, name):
        self._module = module
        setattr(self, name, paused(name, getattr(module, name)))

    def __getattr__(self, name):
        return getattr(self._module, name)


mmap_dict.open = paused('open', builtins.open)
mmap_dict.os = Shim(os, 'fstat')
mmap_dict.mmap = Shim(mmap, 'mmap')


def work(number, go):
    here.number, here.go = number, go
    value_class = values.MultiProcessValue(lambda: 77)
    value = value_class('counter', 'again', 'again_total', (), (), 'Again.')
    pause('inc')
    value.inc(1)
    pause('close')
    value_class.close_all_files()
    print(number, 'end', threading.get_native_id(), flush=True)


def main():
    gates = {}
    for line in sys.stdin:
        command, number, *rest = line.split()
        if command == 'begin':
            os.environ['PROMETHEUS_MULTIPROC_DIR'] = rest[0]
            gates[number] = threading.Semaphore(0)
            threading.Thread(target=work, args=(number, gates[number]), daemon=True).start()
        else:
            gates[number].release()


if __name__ == '__main__':
    main()
