"""Writes a multiprocess directory from real operating system processes.

usage: worker.py [--dead] DIR

Four processes import the client and run the workload; a fifth is forked from the last
of them after its metrics exist, so that the client copies every key into new files.
All five live at the same time, so their ids differ. With --dead the third process is
marked dead after its end. Prints the process ids as a JSON list, in that order. Works
with every release since 0.3.1.
"""

import json
import os
import sys

PROCESSES = 4


def work(index, ready, gate):
    """Runs one process; writes the pids that it adds to ready."""
    import prometheus_client
    from workload import run
    run(prometheus_client, index)
    pids = [os.getpid()]
    if index == PROCESSES - 1:
        shared = prometheus_client.Counter('after_fork', 'Used on both sides of a fork', registry=None)
        shared.inc(2)
        child = os.fork()
        if child == 0:
            shared.inc(5)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status != 0:
            raise RuntimeError('the forked child failed')
        pids.append(child)
    os.write(ready, json.dumps(pids).encode() + b'\n')
    # This returns at the end of file, when the parent has read from every process.
    os.read(gate, 1)


def main():
    arguments = sys.argv[1:]
    dead = '--dead' in arguments
    arguments = [each for each in arguments if each != '--dead']
    if len(arguments) != 1:
        sys.exit('usage: worker.py [--dead] DIR')
    directory = os.path.abspath(arguments[0])
    os.makedirs(directory, exist_ok=True)
    os.environ['PROMETHEUS_MULTIPROC_DIR'] = directory
    os.environ['prometheus_multiproc_dir'] = directory

    gate_read, gate_write = os.pipe()
    children, pids = [], []
    for index in range(PROCESSES):
        ready_read, ready_write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(gate_write)
            status = 1
            try:
                work(index, ready_write, gate_read)
                status = 0
            except BaseException:
                import traceback
                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(ready_write)
        children.append((child, ready_read))
    for _, ready_read in children:
        with os.fdopen(ready_read) as ready:
            pids.extend(json.loads(ready.readline() or '[]'))
    os.close(gate_write)
    failed = False
    for child, _ in children:
        failed |= os.waitpid(child, 0)[1] != 0
    if failed:
        sys.exit('worker.py: a process failed')
    if dead:
        from prometheus_client.multiprocess import mark_process_dead
        mark_process_dead(children[2][0], directory)
    print(json.dumps(pids))


if __name__ == '__main__':
    main()
