"""The same work on many things in several processes, in order, and gone when the main one is."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def in_processes(
    task: Callable[[Any], Any], jobs: Sequence[Any], workers: int, chunk: int = 32
) -> Iterator[Any]:
    """`map(task, jobs)` by several processes.

    Args:
        task (Callable): a function of a module, or a `partial` of one.
        jobs (Sequence): what it is given, one at a time.
        workers (int): processes; with 1 or less the work is done in this one.
        chunk (int): jobs that a process takes at a time.
    """
    if workers <= 1:
        yield from map(task, jobs)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    try:
        yield from pool.map(task, jobs, chunksize=chunk)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    """Leave Ctrl-C to the main process, and end when that has ended, however it did."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main = multiprocessing.parent_process()

    def follow() -> None:
        main.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
