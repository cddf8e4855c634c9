"""What it takes to wake a process, which each FUSE request does twice.

Where an idle CPU halts at once and its host has to start it again, a wake-up on another CPU takes
many times one on the same; which of them a request meets is the scheduler's choice.
"""

import os
import time

TURNS = 5_000


def measure():
    """Microseconds per wake-up: with both processes on one CPU, and on two (None with one CPU)."""
    cpus = sorted(os.sched_getaffinity(0))
    two = [cpus[0], cpus[1]] if len(cpus) > 1 else None
    return {
        "wakeup_same_us": ping_pong(cpus[0], cpus[0]),
        "wakeup_other_us": ping_pong(*two) if two else None,
    }


def words(machine):
    """What was measured, for those who read the figures."""
    other = machine["wakeup_other_us"]
    text = f"a wake-up takes {machine['wakeup_same_us']:.1f} us on the same CPU"
    return text + (f", {other:.1f} us on another" if other else "")


def ping_pong(here, there):
    """The median of three, since another process may have been in the way."""
    return sorted(once(here, there) for _ in range(3))[1]


def once(here, there):
    before = os.sched_getaffinity(0)
    to_child, from_parent = os.pipe()
    to_parent, from_child = os.pipe()
    child = os.fork()
    if child == 0:
        os.sched_setaffinity(0, {there})
        os.close(from_parent)
        while os.read(to_child, 1):
            os.write(from_child, b"x")
        os._exit(0)
    try:
        os.close(to_child)
        os.sched_setaffinity(0, {here})
        began = time.perf_counter()
        for _ in range(TURNS):
            os.write(from_parent, b"x")
            os.read(to_parent, 1)
        return (time.perf_counter() - began) / TURNS / 2 * 1e6
    finally:
        os.close(from_parent)
        os.waitpid(child, 0)
        os.close(to_parent)
        os.close(from_child)
        os.sched_setaffinity(0, before)
