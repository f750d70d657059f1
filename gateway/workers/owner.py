"""The owner's side of `workers: n`: the public socket, the receivers, and what they ask of the store."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from gateway.config.models import Gateway
from gateway.errors import GatewayError, QueueFull
from gateway.meter import Meter
from gateway.queue.base import NewEvent, Store
from gateway.workers.remote import count, told
from gateway.workers.wire import Frame, Link

log = logging.getLogger(__name__)

STATE_SECONDS = 0.25
START_SECONDS = 30.0
STOP_SECONDS = 20.0


class Receivers:
    """Starts `config.workers` receivers, serves them, starts again what dies. `ready` is what /readyz says."""

    def __init__(self, config: Gateway, store: Store, file: Path, meter: Meter, ready: Callable[[], dict[str, Any]]) -> None:
        self._config, self._store, self._file, self._meter, self._ready = config, store, file, meter, ready
        self._listening: socket.socket | None = None
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._links: dict[int, Link] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._work: set[asyncio.Future[Any]] = set()
        self._stopping = False
        self.restarts = 0

    @property
    def pids(self) -> list[int]:
        """Of the receivers that are connected."""
        return sorted(self._links)

    async def start(self) -> str:
        """Bind, start the receivers and wait until each has connected; the address as bound. Raises GatewayError."""
        self._listening = bound(self._config.listen)
        self._tasks = [asyncio.create_task(self._keep(n), name=f"receiver-{n}") for n in range(self._config.workers)]
        self._tasks.append(asyncio.create_task(self._tell(), name="receivers-state"))
        try:
            async with asyncio.timeout(START_SECONDS):
                while len(self._links) < self._config.workers:
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise GatewayError(f"the receivers did not come up within {START_SECONDS:.0f} s; their log is above") from None
        name = self._listening.getsockname()
        return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"

    def reload(self) -> None:
        """Let the receivers read the configuration that the owner has just taken."""
        self._broadcast("reload", None)

    async def stop(self, drain: float) -> None:
        """Let the receivers take hits a little longer, answer what has begun, and end."""
        self._stopping = True
        self._broadcast("state", self._ready())
        self._broadcast("stop", drain)
        if self._listening:
            self._listening.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain + STOP_SECONDS):
                await asyncio.gather(*(process.wait() for process in self._processes.values()))
        for process in self._processes.values():
            if process.returncode is None:
                process.kill()
                await process.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self, number: int) -> None:
        """Run one receiver for as long as the gateway runs."""
        pause = 0.1
        while not self._stopping and self._listening is not None:
            began = asyncio.get_running_loop().time()
            status = await self._run(number, self._listening)
            if self._stopping:
                return
            self.restarts += 1
            log.error("receiver ended; starting it again", extra={"receiver": number, "status": status})
            pause = 0.1 if asyncio.get_running_loop().time() - began > 10 else min(5.0, pause * 2)
            await asyncio.sleep(pause)

    async def _run(self, number: int, listening: socket.socket) -> int:
        """One life of a receiver; its exit status. The two ends of a socket pair are all that connects it with us."""
        ours, theirs = socket.socketpair()
        descriptors = (listening.fileno(), theirs.fileno())
        command = (sys.executable, "-m", "gateway.workers.receiver", "--config", self._config.file)
        options = ("--store", str(self._file), "--listen-fd", str(descriptors[0]), "--owner-fd", str(descriptors[1]))
        process = await asyncio.create_subprocess_exec(
            *command, *options, pass_fds=descriptors, stdin=asyncio.subprocess.DEVNULL
        )
        theirs.close()
        self._processes[number] = process
        link = Link(lambda frame: self._take(link, process.pid, frame), lambda: self._lose(link))
        await link.connect(ours)
        try:
            return await process.wait()
        finally:
            link.close()

    def _take(self, link: Link, pid: int, frame: Frame) -> None:
        """Do what a frame asks for."""
        kind, number, payload = frame
        if kind == "meter":
            count(self._meter, payload)
        elif kind == "hello":
            link.send("welcome", 0, (self._store.salt, dict(self._store.withdrawals)))
            link.send("state", 0, self._ready())
            self._links[pid] = link
        else:
            try:
                asked = asyncio.ensure_future(self._do(kind, payload))
            except QueueFull as error:
                link.send("full", number, (str(error), error.retry_after))
                return
            self._work.add(asked)
            asked.add_done_callback(partial(self._answer, link, kind, number))

    def _lose(self, link: Link) -> None:
        self._links = {pid: other for pid, other in self._links.items() if other is not link}

    def _do(self, kind: str, payload: Any) -> Awaitable[Any]:
        if kind == "append":
            return self._store.append([NewEvent._make(event) for event in payload])
        return self._choose(kind, payload)

    async def _choose(self, kind: str, payload: Any) -> None:
        if kind == "withdraw":
            await self._store.withdraw(payload)
        elif kind == "lift":
            await self._store.lift(*payload)
        else:
            raise GatewayError(f"a receiver asked for {kind}")
        self._broadcast("withdrawals", dict(self._store.withdrawals))

    def _answer(self, link: Link, kind: str, number: int, asked: asyncio.Future[Any]) -> None:
        self._work.discard(asked)
        error = None if asked.cancelled() else asked.exception()
        if isinstance(error, QueueFull):
            link.send("full", number, (str(error), error.retry_after))
        elif error is not None or asked.cancelled():  # a receiver must get an answer to whatever it asked
            log.error("a receiver's call failed", exc_info=error, extra={"call": kind})
            link.send("failed", number, "the store could not take it; nothing was stored")
        else:
            link.send("done", number, told(asked.result()) if kind == "append" else None)

    async def _tell(self) -> None:
        """Push what /readyz says whenever it changes."""
        told: dict[str, Any] | None = None
        while True:
            state = self._ready()
            if state != told:
                told = state
                self._broadcast("state", state)
            await asyncio.sleep(STATE_SECONDS)

    def _broadcast(self, kind: str, payload: Any) -> None:
        for link in self._links.values():
            link.send(kind, 0, payload)


def bound(address: str) -> socket.socket:
    """A listening socket that children may inherit. Raises GatewayError."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, int(port)))
        made.listen(1024)
    except OSError as error:
        made.close()
        raise GatewayError(f"cannot listen on {address}: {error.strerror or error}") from error
    made.setblocking(False)
    made.set_inheritable(True)
    return made
