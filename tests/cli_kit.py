"""The command line in the test's own process, and the lab or a whole gateway beside it in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from click.testing import CliRunner, Result

from gateway.app import Tagway
from gateway.cli import main
from gateway.config.load import load
from gateway.lab import Lab, start_lab

T = TypeVar("T")
SECRETS = {
    "META_PIXEL_ID": "1234567890",
    "META_ACCESS_TOKEN": "s3cr3t-meta-token",
    "META_TEST_EVENT_CODE": "",
    "GA4_MEASUREMENT_ID": "G-TEST12345",
    "GA4_API_SECRET": "s3cr3t-ga4-secret",
    "TIKTOK_PIXEL_ID": "CPIXEL123",
    "TIKTOK_ACCESS_TOKEN": "s3cr3t-tiktok-token",
    "TIKTOK_TEST_EVENT_CODE": "",
    "WEBHOOK_URL": "https://hooks.example.com/tagway",
}
"""What a filled `.env` holds."""


def tagway(*args: str, env: Mapping[str, str] | None = None) -> Result:
    """Run the command; what a person sees is in `stdout` and `stderr`."""
    result = CliRunner().invoke(main, list(args), env=dict(env or {}), prog_name="tagway")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@contextmanager
def in_thread(make: Callable[[], AbstractAsyncContextManager[T]]) -> Iterator[tuple[T, asyncio.AbstractEventLoop]]:
    """An async context in an event loop of its own, entered and left; the loop is for calls into it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    context = make()
    try:
        value = asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(30)
        try:
            yield value, loop
        finally:
            asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result(30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@asynccontextmanager
async def lab_up() -> AsyncIterator[Lab]:
    """The vendors' emulators on a free port."""
    lab = await start_lab("127.0.0.1", 0)
    try:
        yield lab
    finally:
        await lab.close()


@asynccontextmanager
async def gateway_up(path: Path) -> AsyncIterator[Tagway]:
    """A gateway of a configuration whose listeners have ports."""
    app = Tagway(load(path), drain=0.0)
    await app.start()
    try:
        yield app
    finally:
        await app.stop()


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def write_gateway(folder: Path, destinations: Mapping[str, str], sources: str) -> Path:
    """A configuration with free ports; the admin address is where the command line finds it."""
    public, admin, metrics = free_ports(3)
    (folder / "destinations").mkdir(parents=True, exist_ok=True)
    for name, text in destinations.items():
        (folder / "destinations" / f"{name}.yaml").write_text(text)
    path = folder / "gateway.yaml"
    path.write_text(
        f"lab: true\nlisten: 127.0.0.1:{public}\nadmin:\n  listen: 127.0.0.1:{admin}\n"
        f"metrics:\n  listen: 127.0.0.1:{metrics}\nqueue:\n  path: data\nsources:\n{sources}destinations: destinations/\n"
    )
    return path


def call(loop: asyncio.AbstractEventLoop, work: Any) -> Any:
    """The result of a coroutine in the loop of `in_thread`."""
    return asyncio.run_coroutine_threadsafe(work, loop).result(30)
