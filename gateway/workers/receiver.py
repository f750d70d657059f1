"""The process of a receiver: `python -m gateway.workers.receiver`, with two inherited sockets."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from pathlib import Path
from typing import Any

import click
import uvloop

from gateway.clock import Clock
from gateway.collector import rest_collector
from gateway.config.load import load
from gateway.config.models import Gateway
from gateway.consents import StoredConsents
from gateway.enrich.lookups import read_lookups
from gateway.errors import ConfigErrors
from gateway.intake import DurableIntake
from gateway.observe.log import start_logging
from gateway.plans import needs_by_source, prepare
from gateway.receive.http import Door
from gateway.receive.listener import Listener
from gateway.workers.remote import AWAY, RelayedMeter, RemoteStore
from gateway.workers.wire import Frame, Link

log = logging.getLogger(__name__)

METER_SECONDS = 0.5


class Receiver:
    """One receiver: a door whose store is the owner's."""

    def __init__(self, config: Gateway, file: Path, listening: socket.socket) -> None:
        self._config = config
        self._file = file
        self._listening = listening
        self._meter = RelayedMeter()
        self._state: dict[str, Any] = {"ready": False, "reasons": [AWAY], "notes": []}
        self._changed = asyncio.Event()
        self._stopping = False

    async def run(self, owner: socket.socket) -> None:
        """Serve until the owner says stop or is gone."""
        loop = asyncio.get_running_loop()
        self._welcome: asyncio.Future[bool] = loop.create_future()
        self._stop: asyncio.Future[float] = loop.create_future()
        link = Link(self._take, self._lose)
        self._store = store = RemoteStore(link, self._file)
        await link.connect(owner)
        link.send("hello", 0, os.getpid())
        if not await self._welcome:
            return
        clock = Clock.from_environment()
        known = read_lookups(self._config)
        needs = self._needs(self._config)
        # the lanes are the owner's: nothing is handed over to them here
        self._intake = DurableIntake(self._config, store, needs, self._meter, clock, known, lanes=False)  # type: ignore[arg-type]
        consents = StoredConsents(store, self._intake.visitors)  # type: ignore[arg-type]
        self._door = Door(self._config, self._intake, consents, self._meter, clock, ready=self._ready)
        listener = Listener(self._door, self._config.listen, listening=self._listening)
        await listener.start()
        rest_collector()
        relay = asyncio.create_task(self._relay(link), name="meter-relay")
        reloads = asyncio.create_task(self._reload(), name="reloads")
        drain = await self._stop
        await listener.stop(drain)
        store.lose()
        for task in (relay, reloads):
            task.cancel()
        await asyncio.gather(relay, reloads, return_exceptions=True)
        self._send_meter(link)
        link.close()

    def _take(self, frame: Frame) -> None:
        """Do what the owner says."""
        kind, _, payload = frame
        if self._store.take(frame):
            return
        if kind == "welcome":
            self._store.salt, self._store.withdrawals = payload
            self._welcome.set_result(True)
        elif kind == "state":
            self._state = payload
        elif kind == "withdrawals":
            self._store.withdrawals = payload
        elif kind == "reload":
            self._changed.set()
        elif kind == "stop" and not self._stop.done():
            self._stopping = True
            self._stop.set_result(payload)

    def _lose(self) -> None:
        """The owner is gone: take no hit any more, and end."""
        self._store.lose()
        self._state = {"ready": False, "reasons": [AWAY], "notes": []}
        if not self._welcome.done():
            self._welcome.set_result(False)
        if not self._stop.done():
            self._stop.set_result(0.0)

    async def _reload(self) -> None:
        """Read the configuration anew each time that the owner has."""
        loop = asyncio.get_running_loop()
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                config = await loop.run_in_executor(None, load, Path(self._config.file))
                needs = self._needs(config)
                known = await loop.run_in_executor(None, read_lookups, config)
            except ConfigErrors as error:
                log.error("receiver did not reload; the old configuration stays", extra={"problems": str(error)})
                continue
            self._config = config
            self._intake.reconfigure(config, needs, known)
            self._door.reconfigure(config)

    @staticmethod
    def _needs(config: Gateway) -> dict[str, Any]:
        return needs_by_source(config, prepare(config))

    def _ready(self) -> dict[str, Any]:
        reasons = ["stopping"] if self._stopping else self._state["reasons"]
        return {"ready": not reasons, "reasons": reasons, "notes": [*self._state["notes"], *self._door.notes()]}

    async def _relay(self, link: Link) -> None:
        while True:
            await asyncio.sleep(METER_SECONDS)
            self._send_meter(link)

    def _send_meter(self, link: Link) -> None:
        reports = self._meter.drain()
        if reports:
            link.send("meter", 0, reports)


@click.command()
@click.option("--config", type=click.Path(path_type=Path), required=True)
@click.option("--store", "file", type=click.Path(path_type=Path), required=True)
@click.option("--listen-fd", type=int, required=True)
@click.option("--owner-fd", type=int, required=True)
def main(config: Path, file: Path, listen_fd: int, owner_fd: int) -> None:
    """Serve hits for the owner. Started by it, never by hand."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    loaded = load(config)
    with start_logging(loaded):
        uvloop.run(Receiver(loaded, file, socket.socket(fileno=listen_fd)).run(socket.socket(fileno=owner_fd)))


if __name__ == "__main__":
    main()
