"""The demo's gateway process: started, watched, killed on request, started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path


class GatewayProcess:
    """`tagway serve` as a child. `restarts` counts how often it came back; `pid` is 0 while it is down."""

    def __init__(self, config: Path, env: dict[str, str]) -> None:
        self._config = config
        self._env = {**os.environ, **env}
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._stopping = False
        self.restarts = 0

    @property
    def pid(self) -> int:
        """Of the running child."""
        return self._process.pid if self._process and self._process.returncode is None else 0

    async def start(self) -> None:
        """Start the child and bring it back whenever it ends before `stop`."""
        await self._spawn()
        self._watch = asyncio.create_task(self._keep_alive(), name="demo-gateway")

    def kill(self) -> None:
        """SIGKILL: what a crash does."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)

    async def stop(self) -> None:
        """SIGTERM, and wait for the drain."""
        self._stopping = True
        if self._watch:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        if self._process and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()

    async def _spawn(self) -> None:
        command = (sys.executable, "-m", "gateway", "serve", "-c", str(self._config), "--drain", "0")
        self._process = await asyncio.create_subprocess_exec(*command, env=self._env, stdin=asyncio.subprocess.DEVNULL)

    async def _keep_alive(self) -> None:
        while self._process and not self._stopping:
            await self._process.wait()
            self.restarts += 1
            await asyncio.sleep(0.5)
            await self._spawn()
