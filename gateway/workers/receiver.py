"""The process of a receiver: `python -m gateway.workers.receiver`, with two inherited sockets."""

from __future__ import annotations

import asyncio
import contextlib
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
from gateway.workers.wire import packed, read_frame

log = logging.getLogger(__name__)

METER_SECONDS = 0.5
STREAM_LIMIT = 2**20


class Receiver:
    """One receiver: a door whose store is the owner's."""

    def __init__(self, config: Gateway, file: Path, listening: socket.socket) -> None:
        self._config = config
        self._file = file
        self._listening = listening
        self._meter = RelayedMeter()
        self._state: dict[str, Any] = {"ready": False, "reasons": [AWAY], "notes": []}
        self._stopping = False

    async def run(self, owner: socket.socket) -> None:
        """Serve until the owner says stop or is gone."""
        reader, writer = await asyncio.open_unix_connection(sock=owner, limit=STREAM_LIMIT)
        writer.write(packed("hello", 0, os.getpid()))
        store = RemoteStore(writer, self._file)
        welcome = await read_frame(reader)
        if welcome is None:
            return
        store.salt, store.withdrawals = welcome[2]
        clock = Clock.from_environment()
        known = read_lookups(self._config)
        self._intake = DurableIntake(self._config, store, self._needs(self._config), self._meter, clock, known)  # type: ignore[arg-type]
        consents = StoredConsents(store, self._intake.visitors)  # type: ignore[arg-type]
        self._door = Door(self._config, self._intake, consents, self._meter, clock, ready=self._ready)
        listener = Listener(self._door, self._config.listen, listening=self._listening)
        await listener.start()
        rest_collector()
        relay = asyncio.create_task(self._relay(writer), name="meter-relay")
        drain = await self._obey(reader, store)
        await listener.stop(drain)
        store.lose()
        relay.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await relay
        self._send_meter(writer)
        writer.close()

    async def _obey(self, reader: asyncio.StreamReader, store: RemoteStore) -> float:
        """Read what the owner says; returns the seconds to take hits for, once it says stop. 0 when it is gone."""
        stop: float | None = None
        while (frame := await read_frame(reader)) is not None:
            kind, _, payload = frame
            if store.take(frame):
                continue
            if kind == "state":
                self._state = payload
            elif kind == "withdrawals":
                store.withdrawals = payload
            elif kind == "reload":
                await self._reload()
            elif kind == "stop":
                stop = payload
                break
        if stop is None:
            store.lose()
            self._state = {"ready": False, "reasons": [AWAY], "notes": []}
            return 0.0
        self._stopping = True
        self._rest = asyncio.create_task(self._answers(reader, store), name="last-answers")
        return stop

    async def _answers(self, reader: asyncio.StreamReader, store: RemoteStore) -> None:
        """While hits are still taken, their answers still come."""
        while (frame := await read_frame(reader)) is not None:
            store.take(frame)

    async def _reload(self) -> None:
        try:
            loop = asyncio.get_running_loop()
            config = await loop.run_in_executor(None, load, Path(self._config.file))
            needs = self._needs(config)
            known = await loop.run_in_executor(None, read_lookups, config)
        except ConfigErrors as error:
            log.error("receiver did not reload; the old configuration stays", extra={"problems": str(error)})
            return
        self._config = config
        self._intake.reconfigure(config, needs, known)
        self._door.reconfigure(config)

    @staticmethod
    def _needs(config: Gateway) -> dict[str, Any]:
        return needs_by_source(config, prepare(config))

    def _ready(self) -> dict[str, Any]:
        reasons = ["stopping"] if self._stopping else self._state["reasons"]
        return {"ready": not reasons, "reasons": reasons, "notes": [*self._state["notes"], *self._door.notes()]}

    async def _relay(self, writer: asyncio.StreamWriter) -> None:
        while True:
            await asyncio.sleep(METER_SECONDS)
            self._send_meter(writer)

    def _send_meter(self, writer: asyncio.StreamWriter) -> None:
        calls = self._meter.drain()
        if calls and not writer.is_closing():
            writer.write(packed("meter", 0, calls))


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
