"""The demo's gateway process: started, watched, killed on request, started again.

The child is in a process group of its own, so that Ctrl-C reaches the demo alone, which then stops the child in order. Its
log lines come here: warnings and worse are passed on, all of them when asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import orjson

CRASHED_FOR = 0.5
"""Seconds until a gateway that ended by itself is started again."""
KILLED_FOR = 8.0
"""Seconds until a killed one is: time to buy something meanwhile."""
STOP_SECONDS = 5.0
_SHOWN = ("warning", "error", "critical")

Say = Callable[[str], None]


class GatewayProcess:
    """`tagway serve` as a child. `kills` and `restarts` count; `say` gets each log line that a person should see."""

    def __init__(self, config: Path, say: Say, *, verbose: bool = False) -> None:
        self._config, self._say, self._verbose = config, say, verbose
        self._process: asyncio.subprocess.Process | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._start_now = asyncio.Event()
        self._killed = False
        self._stopping = False
        self._back_at: float | None = None
        self.kills = 0
        self.restarts = 0

    @property
    def pid(self) -> int:
        """Of the running child; 0 while there is none."""
        return self._process.pid if self._process and self._process.returncode is None else 0

    @property
    def back_in(self) -> float | None:
        """Seconds until it is started again; None while it runs."""
        if self._back_at is None:
            return None
        return max(0.0, self._back_at - asyncio.get_running_loop().time())

    async def start(self) -> None:
        """Start the child and bring it back whenever it ends before `stop`."""
        await self._spawn()
        self._own(self._keep_alive(), "demo-gateway")

    def kill(self) -> bool:
        """SIGKILL, as a crash or the out-of-memory killer would; False when there is nothing to kill."""
        if not self.pid or self._process is None:
            return False
        self._killed = True
        self.kills += 1
        self._process.send_signal(signal.SIGKILL)
        return True

    def start_now(self) -> None:
        """Do not wait any longer before starting it again."""
        self._start_now.set()

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL after 5 s: what was accepted is on disk either way."""
        self._stopping = True
        for task in self._tasks:
            if task.get_name() == "demo-gateway":
                task.cancel()
        if self._process and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _own(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _spawn(self) -> None:
        command = (sys.executable, "-m", "gateway.demo.attached", "serve", "-c", str(self._config), "--drain", "0")
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stderr=pipe, start_new_session=True)
        if self._process.stderr:
            self._own(self._read_log(self._process.stderr), "demo-gateway-log")

    async def _keep_alive(self) -> None:
        while self._process:
            await self._process.wait()
            pause = KILLED_FOR if self._killed else CRASHED_FOR
            self._killed = False
            self._start_now.clear()
            self._back_at = asyncio.get_running_loop().time() + pause
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._start_now.wait(), pause)
            await self._spawn()
            self._back_at = None
            self.restarts += 1

    async def _read_log(self, stream: asyncio.StreamReader) -> None:
        while line := await _line(stream):
            if text := readable(line, verbose=self._verbose):
                self._say(text)


async def _line(stream: asyncio.StreamReader) -> bytes:
    """The next line; of one that is longer than the reader's buffer, the part that fits."""
    try:
        return await stream.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        return error.partial
    except asyncio.LimitOverrunError as error:
        return await stream.readexactly(error.consumed)


def readable(line: bytes, *, verbose: bool) -> str:
    """A log line of the gateway for a terminal; empty when nobody needs to see it."""
    try:
        entry = orjson.loads(line)
        level, message = entry.pop("level"), entry.pop("message")
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return f"gateway: {line.decode('utf-8', 'replace').rstrip()}" if line.strip() else ""
    if not verbose and level not in _SHOWN:
        return ""
    rest = ", ".join(f"{key}: {value}" for key, value in entry.items() if key not in ("time", "logger"))
    return f"gateway {level}: {message}{f' ({rest})' if rest else ''}"
