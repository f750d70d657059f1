"""`tagway lab`: the vendors' emulators on loopback."""

from __future__ import annotations

import asyncio
import signal

import click
import uvloop

from gateway.clock import Clock
from gateway.lab import start_lab


@click.command()
@click.option("--listen", default="127.0.0.1:9100", show_default=True, help="Where; loopback only.")
def lab(listen: str) -> None:
    """Run strict emulators of the vendors' APIs on this machine.

    A payload that the platform would refuse or drop is refused here, with the
    vendor's own kind of answer. Point a destination at one with
    `endpoint: http://127.0.0.1:9100/meta`, and read what arrived:

    \b
    curl http://127.0.0.1:9100/inbox
    curl -X POST http://127.0.0.1:9100/switch/meta -d '{"mode": "500"}'
    """
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal():
        raise click.UsageError("--listen must be host:port, for example 127.0.0.1:9100")
    if host not in ("127.0.0.1", "localhost", "::1"):
        raise click.UsageError("the lab listens on loopback only")
    uvloop.run(_run(host, int(port)))


async def _run(host: str, port: int) -> None:
    running = await start_lab(host, port, Clock.from_environment())
    for vendor in running.vendors:
        click.echo(f"{vendor:<10} {running.url(vendor)}")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await running.close()
