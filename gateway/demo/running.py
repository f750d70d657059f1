"""The whole demo, started and stopped: lab and shop here, the gateway as a child.

async with demo(folder, choose({}), say=print) as running:
    running.ports.shop …
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from gateway.clock import Clock
from gateway.demo.board import TIMEOUT, Board
from gateway.demo.child import GatewayProcess, Say
from gateway.demo.configuration import write_config
from gateway.demo.ports import HOST, Ports
from gateway.demo.shop import Shop
from gateway.errors import GatewayError
from gateway.lab import Lab, start_lab

READY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Demo:
    """What runs, and where."""

    ports: Ports
    config: Path
    lab: Lab
    gateway: GatewayProcess
    board: Board


@asynccontextmanager
async def demo(
    folder: Path, ports: Ports, say: Say, *, verbose: bool = False, began: float | None = None
) -> AsyncIterator[Demo]:
    """Everything up and ready; everything stopped on leaving. `began` is the monotonic time that delivery is timed from.

    Raises GatewayError when a port is taken or the gateway does not come up.
    """
    path = write_config(folder, ports)
    async with contextlib.AsyncExitStack() as stack:
        lab = await start_lab(HOST, ports.lab, Clock())
        stack.push_async_callback(lab.close)
        gateway = GatewayProcess(path, say, verbose=verbose)
        stack.push_async_callback(_stop, gateway, lab)
        board = Board(ports, lab, gateway, time.monotonic() if began is None else began)
        shop = Shop(ports, board, lab, gateway, folder)
        await shop.start()
        stack.push_async_callback(shop.close)
        looking = asyncio.create_task(board.run(), name="demo-board")
        stack.push_async_callback(_end, looking)
        await gateway.start()
        await wait_ready(gateway, ports)
        yield Demo(ports, path, lab, gateway, board)


async def _stop(gateway: GatewayProcess, lab: Lab) -> None:
    """Let requests go that a vendor leaves hanging, so that the gateway need not wait for them."""
    for vendor in lab.vendors:
        lab.down(vendor, None)
    await gateway.stop()


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def wait_ready(gateway: GatewayProcess, ports: Ports) -> None:
    """Return when the listener that opens last answers. Raises GatewayError when the gateway ends at once, or after 30 s."""
    deadline = time.monotonic() + READY_SECONDS
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        while time.monotonic() < deadline:
            if gateway.back_in is not None:
                raise GatewayError("the gateway ended as soon as it was started; its log is above")
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.get(f"http://{HOST}:{ports.metrics}/readyz") as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.05)
    raise GatewayError(f"the gateway did not come up on {HOST}:{ports.gateway} within {READY_SECONDS:.0f} s; its log is above")
