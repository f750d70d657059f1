"""Faults as context managers: each begins with the block, ends with it, and works under any end-to-end test.

Of processes (a GatewayProcess): `killed`, `terminated`, `full_disk`, `damaged`, `few_descriptors`.
Of what it depends on: `no_room` (a file system), `mood` (a vendor), `stepped` (the wall clock), `Names.lost` and
`Names.moved` (DNS), `certificate` (TLS).

Whatever is drawn at random comes from `dice`, which prints its seed; TAGWAY_SEED replays it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.clock import FrozenClock
from tests.faults.oracle import Vendors
from tests.faults.process import GatewayProcess
from tests.vendor import Play


def dice(of: str) -> random.Random:
    """Random numbers of a run; the seed is printed and comes from TAGWAY_SEED where that is set."""
    seed = os.environ.get("TAGWAY_SEED") or str(random.SystemRandom().randrange(10**9))
    print(f"{of}: TAGWAY_SEED={seed}")
    return random.Random(f"{of} {seed}")


@contextlib.asynccontextmanager
async def killed(gateway: GatewayProcess) -> AsyncIterator[None]:
    """SIGKILL; started again at the end."""
    await asyncio.to_thread(gateway.kill)
    try:
        yield
    finally:
        await asyncio.to_thread(gateway.start)


@dataclass
class Exit:
    """How a process ended."""

    status: int
    seconds: float


@contextlib.asynccontextmanager
async def terminated(
    gateway: GatewayProcess, within: float = 30.0, meanwhile: Callable[[], Awaitable[None]] | None = None
) -> AsyncIterator[Exit]:
    """SIGTERM, waited for; `meanwhile` runs when the signal is out. Started again at the end."""
    started = time.monotonic()
    stopping = asyncio.create_task(asyncio.to_thread(gateway.stop, within))
    if meanwhile:
        await asyncio.sleep(0.2)
        await meanwhile()
    status = await stopping
    try:
        yield Exit(status, time.monotonic() - started)
    finally:
        await asyncio.to_thread(gateway.start)


@contextlib.contextmanager
def full_disk(gateway: GatewayProcess) -> Iterator[None]:
    """No file of the process may grow beyond the largest one of its store."""
    size = max(path.stat().st_size for path in (gateway.folder / "data").iterdir() if path.suffix != ".lock")
    with _limited(gateway.pid, resource.RLIMIT_FSIZE, size):
        yield


@contextlib.contextmanager
def few_descriptors(gateway: GatewayProcess, spare: int) -> Iterator[None]:
    """The process may open only `spare` descriptors more than it has."""
    used = len(os.listdir(f"/proc/{gateway.pid}/fd"))
    with _limited(gateway.pid, resource.RLIMIT_NOFILE, used + spare):
        yield


@contextlib.contextmanager
def _limited(pid: int, kind: int, value: int) -> Iterator[None]:
    soft, hard = resource.prlimit(pid, kind)
    resource.prlimit(pid, kind, (value, hard))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, kind, (soft, hard))


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[bool]:
    """A file system of its own, that small, on `folder`; False where this user may not mount one."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=True)


@contextlib.contextmanager
def no_room(folder: Path) -> Iterator[None]:
    """The file system of a folder is filled to its last byte."""
    filling = folder / "filling"
    with filling.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        filling.unlink()


@contextlib.asynccontextmanager
async def damaged(gateway: GatewayProcess, damage: Callable[[Path], None]) -> AsyncIterator[None]:
    """A power cut that leaves the store's folder damaged."""
    async with killed(gateway):
        damage(gateway.folder / "data")
        yield


def torn(rng: random.Random, most: int = 65_537) -> Callable[[Path], None]:
    """Cuts up to `most` bytes off the write-ahead log, as a power cut may."""

    def cut(folder: Path) -> None:
        wal = folder / "tagway.db-wal"
        size = wal.stat().st_size
        os.truncate(wal, max(0, size - rng.randrange(1, most)))

    return cut


def flipped(rng: random.Random, bits: int = 1) -> Callable[[Path], None]:
    """Flips single bits of the database file, as a failing disk may."""

    def flip(folder: Path) -> None:
        file = folder / "tagway.db"
        content = bytearray(file.read_bytes())
        for _ in range(bits):
            content[rng.randrange(100, len(content))] ^= 1 << rng.randrange(8)
        file.write_bytes(content)

    return flip


@contextlib.contextmanager
def mood(vendors: Vendors, lane: str, play: Play | Callable[[list[str]], Play]) -> Iterator[None]:
    """A vendor that answers otherwise: slow, hanging, hostile, refusing."""
    before = vendors.mood.get(lane, Play(200))
    vendors.mood[lane] = play
    try:
        yield
    finally:
        vendors.mood[lane] = before


class SteppingClock(FrozenClock):
    """The machine's time, whose wall side can be stepped."""

    frozen = False

    def __init__(self) -> None:
        self.stepped = 0.0
        super().__init__(0.0)

    def now(self) -> float:
        return time.time() + self.stepped

    def step_wall(self, seconds: float) -> None:
        self.stepped += seconds


@contextlib.contextmanager
def stepped(clock: SteppingClock, seconds: float) -> Iterator[None]:
    """The wall clock is wrong by this much."""
    clock.step_wall(seconds)
    try:
        yield
    finally:
        clock.step_wall(-seconds)


class Names(AbstractResolver):
    """A resolver that knows one address, another one, or none."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.address: str | None = address
        self.asked = 0

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
        self.asked += 1
        if self.address is None:
            raise OSError(socket.EAI_AGAIN, "Temporary failure in name resolution")
        entry = ResolveResult(
            hostname=host, host=self.address, port=port, family=socket.AF_INET, proto=0, flags=socket.AI_NUMERICHOST
        )
        return [entry]

    async def close(self) -> None:
        return None

    @contextlib.contextmanager
    def lost(self) -> Iterator[None]:
        """No name is found."""
        with self.moved(None):
            yield

    @contextlib.contextmanager
    def moved(self, address: str | None) -> Iterator[None]:
        """Every name leads to another address."""
        before, self.address = self.address, address
        try:
            yield
        finally:
            self.address = before


def certificate(folder: Path, host: str, days: int = 2) -> ssl.SSLContext:
    """A server's self-signed certificate for a host, in `host.pem`; a negative `days` has run out."""
    key, file = folder / f"{host}.key", folder / f"{host}.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    ends = ["-days", str(days), "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(file), *ends], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    return context
