"""A gateway in a process of its own, that can be killed and started again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class GatewayProcess:
    """`tagway serve` with a configuration written for it.

    `destinations` maps a lane's name to its YAML text (without `sources`, the only source is `shop`); `gateway`, `site` and
    `queue` are further lines of gateway.yaml at its top, of the source, and of the queue.
    """

    def __init__(
        self,
        folder: Path,
        destinations: dict[str, str],
        env: dict[str, str] | None = None,
        gateway: str = "",
        site: str = "",
        queue: str = "",
        drain: float = 0.0,
    ) -> None:
        self._drain = drain
        self.folder = folder
        self.public, self.admin, self.metrics = free_port(), free_port(), free_port()
        self._env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self.config = folder / "gateway.yaml"
        (folder / "destinations").mkdir(parents=True, exist_ok=True)
        self.config.write_text(
            f"lab: true\nlisten: 127.0.0.1:{self.public}\nadmin:\n  listen: 127.0.0.1:{self.admin}\n"
            f"metrics:\n  listen: 127.0.0.1:{self.metrics}\n{gateway}"
            f"queue:\n  path: data\n{queue}sources:\n  shop:\n    write_keys: [wk_test]\n{site}"
        )
        for name, text in destinations.items():
            (folder / "destinations" / f"{name}.yaml").write_text(text)
        with self.config.open("a") as file:
            file.write("destinations: destinations/\n")

    @property
    def url(self) -> str:
        """Base of the public listener."""
        return f"http://127.0.0.1:{self.public}"

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    def start(self, timeout: float = 20.0) -> None:
        """Start and wait for /readyz."""
        with (self.folder / "gateway.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "serve", "-c", str(self.config), "--drain", str(self._drain)],
                cwd=ROOT, env=self._env, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise AssertionError(f"the gateway ended with {self._process.returncode}:\n{self.log()}")
            with contextlib.suppress(OSError):
                if urllib.request.urlopen(f"{self.url}/readyz", timeout=2).status == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(f"the gateway was not ready after {timeout} s:\n{self.log()}")

    def kill(self) -> None:
        """SIGKILL, and reap it."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        if self._process:
            self._process.wait()

    def stop(self, timeout: float = 30.0) -> int:
        """SIGTERM; the exit status."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.terminate()
        return self._process.wait(timeout)

    def log(self) -> str:
        """What it wrote so far."""
        return (self.folder / "gateway.log").read_text(errors="replace")

    def get(self, path: str, port: int | None = None) -> Any:
        """JSON of the admin listener."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port or self.admin}{path}", timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path} answered {error.code}; the end of the log:\n{self.log()[-4000:]}") from error

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command line against this gateway's configuration."""
        command = [sys.executable, "-m", "gateway", *arguments, "-c", str(self.config)]
        return subprocess.run(command, cwd=ROOT, env=self._env, capture_output=True, text=True, timeout=60, check=False)

    def scrape(self) -> str:
        """The text of /metrics."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    def rss(self) -> int:
        """Resident bytes of the running process."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def reload(self) -> int:
        """POST /reload; the status."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.admin}/reload", b"{}", headers, method="POST")
        try:
            return int(urllib.request.urlopen(request, timeout=40).status)
        except urllib.error.HTTPError as error:
            return error.code

    async def until_idle(self, timeout: float = 120.0) -> None:
        """Wait until no lane has anything queued."""
        deadline = time.monotonic() + timeout
        lanes: list[dict[str, Any]] = []
        while time.monotonic() < deadline:
            lanes = (await asyncio.to_thread(self.get, "/lanes"))["lanes"]
            if all(lane["queued"] == 0 for lane in lanes):
                return
            await asyncio.sleep(0.25)
        raise AssertionError(f"still queued after {timeout} s: {lanes}")
