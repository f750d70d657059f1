"""The thread of the commits: runs calls for an event loop, one after the other.

A ThreadPoolExecutor would do the same; its futures, their locks and their call-backs cost some 50 us of CPU a call, which is
what a commit of five hits costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any

_Job = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], Any]]


class CommitThread:
    """The thread; it lives until `stop`."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="tagway-commit", daemon=True)
        self._thread.start()

    def run(self, call: Callable[[], Any]) -> asyncio.Future[Any]:
        """Run it after all that was handed in before; the future has what it returned or raised."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._jobs.put((loop, future, call))
        return future

    def stop(self) -> None:
        """Finish what was handed in, then end."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            loop, future, call = job
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001  (boundary: it is the caller's, like any result)
                loop.call_soon_threadsafe(_fail, future, error)
            else:
                loop.call_soon_threadsafe(_succeed, future, result)
            del job, future, call


def _succeed(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():  # the caller may have left
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
