"""Work in processes of its own, so that what exits, hangs or crashes there ends nothing else."""

import multiprocessing
import os
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

#: What work is given to tell what it is at: anything that can be pickled.
Tell = Callable[[Any], None]


@dataclass
class Outcome:
    """How work ended.

    Attributes:
        number: of the work.
        told: what it told, in order.
        problem: why it did not end by itself, as a sentence without a subject; empty where it did.
        seconds: how long it took.
    """

    number: int
    told: list[Any] = field(default_factory=list)
    problem: str = ""
    seconds: float = 0.0


def isolated(work: Sequence[Callable[[Tell], None]], *, jobs: int, seconds: float) -> Iterator[Outcome]:
    """Do each piece of work in a process of its own, several side by side; gives the outcomes in the order of the work.

    Where processes cannot be forked, or a GPU is in use already, everything is done here, one after the other.

    Args:
        work: each is called with a function that tells this process something.
        jobs: how many processes at once.
        seconds: how long one may be silent before it is stopped.
    """
    if not hasattr(os, "fork") or torch.cuda.is_initialized():
        yield from (_here(number, each) for number, each in enumerate(work))
        return
    running: dict[Connection, _Running] = {}
    done: dict[int, Outcome] = {}
    started = given = 0
    try:
        while given < len(work):
            while started < len(work) and len(running) < jobs:
                process = _Running.of(started, work[started], seconds)
                running[process.connection] = process
                started += 1
            for process in _ended(running, seconds):
                del running[process.connection]
                done[process.outcome.number] = process.outcome
            while given in done:
                yield done.pop(given)
                given += 1
    finally:
        for process in running.values():
            process.stop()


@dataclass
class _Running:
    process: Any
    connection: Connection
    outcome: Outcome
    start: float
    deadline: float

    @classmethod
    def of(cls, number: int, work: Callable[[Tell], None], seconds: float) -> "_Running":
        own, other = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("fork").Process(target=_work, args=(work, other), daemon=True)
        with warnings.catch_warnings():
            # PyTorch's threads are not used in the new process, which has one of its own.
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
        other.close()
        now = time.monotonic()
        return cls(process, own, Outcome(number), now, now + seconds)

    def stop(self) -> None:
        self.process.kill()
        self.process.join()


def _ended(running: dict[Connection, _Running], seconds: float) -> list[_Running]:
    """Listen until something ends or runs out of time."""
    ended = []
    nearest = min(process.deadline for process in running.values())
    for connection in wait(list(running), max(0.0, nearest - time.monotonic())):
        assert isinstance(connection, Connection)
        process = running[connection]
        process.deadline = time.monotonic() + seconds
        try:
            kind, value = connection.recv()
        except EOFError:
            process.process.join()
            process.outcome.problem = _ending(process.process.exitcode)
            ended.append(process)
            continue
        if kind == "told":
            process.outcome.told.append(value)
        else:
            process.outcome.problem = value
            process.process.join(5)
            process.stop()
            ended.append(process)
    for process in running.values():
        if process not in ended and time.monotonic() > process.deadline:
            process.stop()
            process.outcome.problem = f"hangs: nothing came of it in {seconds:g} s"
            ended.append(process)
    for process in ended:
        process.outcome.seconds = time.monotonic() - process.start
    return ended


def _work(work: Callable[[Tell], None], connection: Connection) -> None:
    torch.set_num_threads(1)
    try:
        work(lambda value: connection.send(("told", value)))
        connection.send(("done", ""))
    except SystemExit as error:
        connection.send(("done", f"ends the process (exit {error.code})"))
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        connection.send(("done", f"raises {type(error).__name__}: {error} ({where.filename}:{where.lineno})"))


def _here(number: int, work: Callable[[Tell], None]) -> Outcome:
    outcome, start = Outcome(number), time.monotonic()
    try:
        work(outcome.told.append)
    except SystemExit as error:
        outcome.problem = f"ends the process (exit {error.code})"
    outcome.seconds = time.monotonic() - start
    return outcome


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"is ended by the system ({signal.Signals(-code).name})"
    return f"ends the process (exit {code})"
