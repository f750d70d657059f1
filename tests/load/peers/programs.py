"""Which peers there are, how their packages come here, and how one is started."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import orjson

from tests.client_kit import node_modules
from tests.load.driver import purchase
from tests.load.gateways import SERVER_CORE, Pinned

HERE = Path(__file__).parent
NEEDED = ("node", "npm")


class NotHere(Exception):
    """A peer cannot be run on this machine; the message says why."""


@dataclass(frozen=True)
class Peer:
    """`package` is what the peer is known by, in the lock file of `folder`; `share` of a round's requests are sent to it."""

    name: str
    folder: str
    package: str
    share: float = 0.1

    @property
    def row(self) -> str:
        """Name and version, as the tables have it."""
        lock = json.loads((HERE / self.folder / "package-lock.json").read_text())
        return f"{self.name} {lock['packages'][f'node_modules/{self.package}']['version']}"

    def installed(self) -> Path:
        """Its node_modules, installed when the lock file asks for it. Raises NotHere."""
        lacking = [name for name in NEEDED if shutil.which(name) is None]
        if lacking:
            raise NotHere(f"{' and '.join(lacking)} missing: apt-get install --no-install-recommends nodejs npm")
        try:
            return asyncio.run(node_modules(HERE / self.folder))
        except (AssertionError, TimeoutError, OSError) as error:
            raise NotHere(f"npm could not install {self.package}: {str(error)[-500:] or 'it took too long'}") from error

    def start(self, modules: Path, port: int, sink: int) -> Pinned:
        """Its server on the servers' core; NODE_ENV as in production."""
        script = str(HERE / self.folder / "server.cjs")
        environment = {"NODE_PATH": str(modules), "NODE_ENV": "production"}
        return Pinned(SERVER_CORE, script, str(port), str(sink), program=("node",), environment=environment)

    def mapping(self, modules: Path, warm: int = 3000, counted: int = 2000) -> float:
        """CPU microseconds of one event where nothing is sent: what it takes to map it and to make the three requests."""
        hits = b"\n".join(orjson.dumps(purchase(number)) for number in range(warm + counted))
        command = ["taskset", "-c", str(SERVER_CORE), "node", str(HERE / self.folder / "server.cjs"), "loop", str(counted)]
        environment = {**os.environ, "NODE_PATH": str(modules), "NODE_ENV": "production"}
        done = subprocess.run(command, input=hits, capture_output=True, env=environment, timeout=120, check=False)
        if done.returncode:
            raise SystemExit(f"{self.row}: {done.stderr.decode()[-2000:]}")
        return float(done.stdout)


PEERS = (
    Peer("walkerOS", "walkeros", "@walkeros/collector"),
    Peer("Segment action-destinations", "segment", "@segment/action-destinations"),
)


def available() -> tuple[list[tuple[Peer, Path]], list[str]]:
    """The peers that can be run with their packages, and a line for each that cannot."""
    found, lines = [], []
    for peer in PEERS:
        try:
            found.append((peer, peer.installed()))
        except NotHere as why:
            lines.append(f"LEFT OUT  {peer.row}: {why}")
    return found, lines


def node_version() -> str:
    """As `node --version` has it, without the v."""
    return subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip().removeprefix("v")
