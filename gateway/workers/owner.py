"""The owner's side of `workers: n`: the public socket, the receivers, and what they ask of the store."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.config.models import Gateway
from gateway.errors import GatewayError, QueueFull
from gateway.meter import Meter
from gateway.queue.base import Store
from gateway.workers.receiver import STREAM_LIMIT
from gateway.workers.wire import packed, read_frame

log = logging.getLogger(__name__)

STATE_SECONDS = 0.25
START_SECONDS = 30.0
STOP_SECONDS = 20.0
_METER_CALLS = frozenset({"request", "received", "refused", "ignored", "dropped"})


class Receivers:
    """Starts `config.workers` receivers, serves them, starts again what dies. `ready` is what /readyz says."""

    def __init__(self, config: Gateway, store: Store, file: Path, meter: Meter, ready: Callable[[], dict[str, Any]]) -> None:
        self._config, self._store, self._file, self._meter, self._ready = config, store, file, meter, ready
        self._listening: socket.socket | None = None
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._links: dict[int, asyncio.StreamWriter] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._work: set[asyncio.Task[None]] = set()
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
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=STREAM_LIMIT)
        await self._serve(reader, writer)
        return await process.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello = await read_frame(reader)
        if hello is None:
            return
        pid = int(hello[2])
        writer.write(packed("welcome", 0, (self._store.salt, dict(self._store.withdrawals))))
        writer.write(packed("state", 0, self._ready()))
        self._links[pid] = writer
        try:
            while (frame := await read_frame(reader)) is not None:
                kind, number, payload = frame
                if kind == "meter":
                    self._count(payload)
                    continue
                task = asyncio.create_task(self._answer(writer, kind, number, payload))
                self._work.add(task)
                task.add_done_callback(self._work.discard)
        finally:
            self._links.pop(pid, None)
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, kind: str, number: int, payload: Any) -> None:
        try:
            result = await self._do(kind, payload)
        except QueueFull as error:
            frame = packed("full", number, (str(error), error.retry_after))
        except Exception:  # boundary: a receiver must get an answer to whatever it asked
            log.exception("a receiver's call failed", extra={"call": kind})
            frame = packed("failed", number, "the store could not take it; nothing was stored")
        else:
            frame = packed("done", number, result)
        if not writer.is_closing():
            writer.write(frame)

    async def _do(self, kind: str, payload: Any) -> Any:
        if kind == "append":
            return [str(receipt) for receipt in await self._store.append(payload)]
        if kind == "withdraw":
            await self._store.withdraw(payload)
        elif kind == "lift":
            await self._store.lift(*payload)
        else:
            raise GatewayError(f"a receiver asked for {kind}")
        self._broadcast("withdrawals", dict(self._store.withdrawals))
        return None

    def _count(self, calls: list[tuple[str, tuple[Any, ...]]]) -> None:
        for method, arguments in calls:
            if method in _METER_CALLS:
                getattr(self._meter, method)(*arguments)

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
        frame = packed(kind, 0, payload)
        for writer in list(self._links.values()):
            if not writer.is_closing():
                writer.write(frame)


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
