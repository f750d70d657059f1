"""The running gateway: the only place where the stages are wired together.

    gateway = Tagway(load(Path("configs/gateway.yaml")))
    await gateway.start()
    ...
    await gateway.stop()

Three listeners: the public one (hits), the admin one (ledger, dead letters, replay, reload) and /metrics. A reload
validates everything first, then lets what is in flight finish and swaps; a bad file keeps the old configuration.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Any

from aiohttp import web

from gateway.admin import AdminApi, health_routes
from gateway.clock import Clock, iso
from gateway.config.load import load, warnings
from gateway.config.models import Gateway
from gateway.config.watch import changes
from gateway.consent_watch import ConsentWatch, deciding_signal
from gateway.consents import StoredConsents
from gateway.deliver.direct import DirectTransport
from gateway.deliver.transport import AiohttpTransport, Transport
from gateway.enrich.lookups import read_lookups
from gateway.errors import ConfigErrors, GatewayError, Problem
from gateway.intake import DurableIntake
from gateway.lanes import Lanes, TransportFactory
from gateway.observe.metrics import PrometheusMeter
from gateway.plans import Ready, needs_by_source, prepare
from gateway.queue.base import Store
from gateway.queue.sqlite import SqliteStore
from gateway.receive.http import Door
from gateway.receive.listener import Listener
from gateway.workers.owner import Receivers

log = logging.getLogger(__name__)

RELOAD_GRACE = 10.0
"""Seconds that requests in flight get before a reload swaps the lanes."""
DRAIN_SECONDS = 5.0
"""How long hits are still taken after /readyz turned false, so that a balancer notices."""
STOP_GRACE = 12.0
RETAIN_EVERY = 5.0


class Tagway:
    """One gateway in one process.

    `drain` shortens the time in which a stopping gateway still takes hits (tests). Raises ConfigErrors when a mapping
    does not compile or a file of addresses cannot be read, StoreError when the store cannot be used.
    """

    def __init__(
        self,
        config: Gateway,
        *,
        clock: Clock | None = None,
        store: Store | None = None,
        transport: TransportFactory | None = None,
        drain: float = DRAIN_SECONDS,
    ) -> None:
        self.config = config
        self.clock = clock or Clock.from_environment()
        self.meter = PrometheusMeter(self.clock)
        self.store: Store = store or open_store(config, self.clock)
        self.prepared = prepare(config, self.meter)
        known = read_lookups(config)
        self.lanes = Lanes(self.store, self.meter, self.clock, transport or direct_transport)
        self.intake = DurableIntake(config, self.store, needs_by_source(config, self.prepared), self.meter, self.clock, known)
        consents = StoredConsents(self.store, self.intake.visitors)
        self.door = Door(config, self.intake, consents, self.meter, self.clock, ready=self.ready)
        self._store_file = store_path(config) / "tagway.db"
        self.consent_watch = ConsentWatch(self._deciding_signal)
        self._drain = drain
        self._stopping = False
        self.draining = False
        self._reloading = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._listener: Listener | None = None
        self.receivers = Receivers(config, self.store, self._store_file, self.meter, self.ready) if config.workers else None
        self._runners: list[web.AppRunner] = []
        self.addresses: dict[str, str] = {}

    async def start(self) -> None:
        """Open the store, the lanes and the three listeners; `addresses` then says where they are."""
        if self.clock.frozen:
            refuse_open_listeners(self.config)
        await self.store.open()
        self.meter.attach(self.store, self.config, self.prepared)
        await self.lanes.start(self.prepared, held(self.config, "destination"), held(self.config, "source"))
        await self._listen()
        self._tasks = [
            asyncio.create_task(self._retain(), name="retention"),
            asyncio.create_task(self._watch(), name="config-watch"),
            asyncio.create_task(self.consent_watch.run(self.store.books, self.clock.monotonic), name="consent-watch"),
        ]
        for problem in warnings(self.config):
            log.warning("configuration warning", extra={"problem": str(problem)})
        log.info("gateway started", extra={"listen": self.addresses["public"], "config": self.config.hash[:12]})

    async def stop(self) -> None:
        """/readyz false, take hits a little longer, close, finish replies, stop lanes, leave the rest on disk."""
        self._stopping = True
        if self.receivers:
            await self.receivers.stop(self._drain)
        if self._listener:
            await self._listener.stop(self._drain)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.lanes.stop(STOP_GRACE)
        for runner in self._runners:
            await runner.cleanup()
        await self.store.close()
        log.info("gateway stopped")

    async def reload(self) -> None:
        """Read the files again and swap. Raises ConfigErrors, and then nothing has changed."""
        async with self._reloading:
            loop = asyncio.get_running_loop()
            config = await loop.run_in_executor(None, load, Path(self.config.file))
            prepared = prepare(config, self.meter)
            known = await loop.run_in_executor(None, read_lookups, config)
            self._warn_of_restart(config)
            await self.lanes.stop(RELOAD_GRACE)
            self.config, self.prepared = config, prepared
            self.intake.reconfigure(config, needs_by_source(config, prepared), known)
            self.door.reconfigure(config)
            if self.receivers:
                self.receivers.reload()
            self.meter.attach(self.store, config, prepared)
            await self.lanes.start(prepared, held(config, "destination"), held(config, "source"))
            self.lanes.probe()
            log.info("configuration reloaded", extra={"config": config.hash[:12]})

    def ready(self) -> dict[str, Any]:
        """What /readyz says: `reasons` is empty while hits can be taken. A vendor that is down is none of them."""
        reasons = []
        if self._stopping:
            reasons.append("stopping")
        if self.draining:
            reasons.append("draining")
        if self.store.full:
            reasons.append("the store is full")
        return {"ready": not reasons, "reasons": reasons, "notes": self.door.notes()}

    def unconfirmed(self) -> frozenset[str]:
        """Destinations whose vendor never confirms: their delivered figures carry a mark."""
        return frozenset(name for name, one in self.prepared.items() if one.manifest.confirms == "none")

    def _deciding_signal(self, lane: str) -> str:
        one = self.prepared.get(lane)
        return deciding_signal(self._store_file, one) if one else ""

    def lane_report(self) -> list[dict[str, Any]]:
        """State, depth and age of every lane."""
        report = []
        for name, status in self.lanes.status().items():
            depth = self.store.depth(name)
            waiting = {"queued": depth.queued, "retrying": depth.retrying, "oldest": depth.oldest and iso(depth.oldest)}
            report.append({"destination": name, **status.to_json(), **waiting})
        return report

    async def _listen(self) -> None:
        if self.receivers:
            self.addresses["public"] = await self.receivers.start()
        else:
            self._listener = Listener(self.door, self.config.listen)
            self.addresses["public"] = await self._listener.start()
        self.addresses["admin"] = await self._serve(AdminApi(self, self._store_file).application(), self.config.admin.listen)
        metrics = web.Application()
        metrics.add_routes([web.get("/metrics", self.meter.handle), *health_routes(self.ready)])
        self.addresses["metrics"] = await self._serve(metrics, self.config.metrics.listen)

    async def _serve(self, application: web.Application, address: str) -> str:
        host, _, port = address.rpartition(":")
        runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1)
        await runner.setup()
        self._runners.append(runner)
        try:
            await web.TCPSite(runner, host.strip("[]"), int(port)).start()
        except OSError as error:
            raise GatewayError(f"cannot listen on {address}: {error.strerror}") from error
        bound = runner.addresses[0]
        return f"{bound[0]}:{bound[1]}"

    async def _retain(self) -> None:
        while True:
            await asyncio.sleep(RETAIN_EVERY)
            try:
                await self.store.retain()
            except Exception:  # boundary: the next pass may succeed; the gateway goes on
                log.exception("retention failed; trying again")

    async def _watch(self) -> None:
        async for _ in changes(lambda: self.config.files):
            with contextlib.suppress(ConfigErrors):
                try:
                    await self.reload()
                except ConfigErrors as error:
                    log.error("configuration not reloaded; the old one stays", extra={"problems": str(error)})
                    raise

    def _warn_of_restart(self, config: Gateway) -> None:
        for key in ("listen", "admin", "metrics", "queue", "workers"):
            if getattr(config, key) != getattr(self.config, key):
                log.warning("this change needs a restart", extra={"key": key})


def held(config: Gateway, kind: str) -> frozenset[str]:
    """Destinations or sources left out for their errors (`config_errors: hold`): their events wait until the file is mended."""
    return frozenset(one.name for one in config.held if one.kind == kind)


def open_store(config: Gateway, clock: Clock) -> SqliteStore:
    """The store that the configuration names; relative paths start at the configuration file."""
    queue = config.queue
    return SqliteStore(
        store_path(config),
        clock=clock,
        retention=queue.retention,
        firings=queue.firings,
        personal=queue.personal,
        ack=queue.ack,
        ballast=queue.ballast,
    )


def store_path(config: Gateway) -> Path:
    """The folder of the store."""
    return (Path(config.file).parent / config.queue.path).resolve()


def direct_transport(one: Ready) -> Transport:
    """The client that the destination's file asks for, guarded against private addresses except those it allows."""
    return AiohttpTransport(one.config) if one.config.transport == "aiohttp" else DirectTransport(one.config)


def refuse_open_listeners(config: Gateway) -> None:
    """With a frozen clock nobody outside may be listening. Raises ConfigErrors."""
    open_ones = [
        address
        for address in (config.listen, config.admin.listen, config.metrics.listen)
        if not address.startswith(("127.", "localhost:", "[::1]:"))
    ]
    if open_ones:
        words = f"TAGWAY_NOW freezes the clock and is for tests: listen on loopback only (now {', '.join(open_ones)})"
        raise ConfigErrors([Problem(words, config.file)])
