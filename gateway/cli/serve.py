"""`tagway serve`: run the gateway until SIGTERM; SIGHUP reloads."""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path

import click
import uvloop

from gateway.app import Tagway
from gateway.cli.common import config_option, load_config
from gateway.collector import rest_collector
from gateway.config.models import Gateway
from gateway.errors import ConfigErrors
from gateway.observe.log import start_logging

log = logging.getLogger(__name__)


@click.command()
@config_option
@click.option("--drain", type=float, default=5.0, show_default=True, help="Seconds to take hits after SIGTERM.")
def serve(config_path: Path | None, drain: float) -> None:
    """Run the gateway.

    \b
    SIGTERM  stop: /readyz turns false, hits are taken a little longer, replies
             finish, what is not delivered stays on disk; exit within 25 s
    SIGHUP   read the configuration again (so does `tagway reload`, and a change
             of the files); a bad file keeps the old one
    """
    config = load_config(config_path)
    with start_logging(config):
        uvloop.run(run(config, drain))


async def run(config: Gateway, drain: float) -> None:
    """Serve until SIGTERM or SIGINT; a second one ends at once."""
    gateway = Tagway(config, drain=drain)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Task[None]] = set()

    def on_hangup() -> None:
        task = asyncio.create_task(_reload(gateway))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    def on_stop() -> None:
        if stop.is_set():
            raise SystemExit(1)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_stop)
    loop.add_signal_handler(signal.SIGHUP, on_hangup)
    await gateway.start()
    rest_collector()
    await stop.wait()
    await gateway.stop()


async def _reload(gateway: Tagway) -> None:
    try:
        await gateway.reload()
    except ConfigErrors as error:
        log.error("configuration not reloaded; the old one stays", extra={"problems": str(error)})
