"""`tagway demo`: a gateway and four vendors on this machine, with two hits to try."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from pathlib import Path

import aiohttp
import click
import uvloop

from gateway.clock import Clock
from gateway.config.load import load
from gateway.config.models import Gateway
from gateway.demo import demo_config
from gateway.demo.child import GatewayProcess
from gateway.errors import GatewayError
from gateway.lab import start_lab

READY_SECONDS = 30.0

WELCOME = """
Tagway is up. Nothing leaves this machine.

  vendors' inboxes   http://{lab}/inbox
  ledger             http://{admin}/ledger      (or: tagway audit -c {config})
  metrics            http://{metrics}/metrics

A purchase that is delivered to four vendors:

  curl -s http://{public}/v1/events?k=wk_shop_demo -H 'Content-Type: application/json' -d '{delivered}'

The same without consent: stored, counted, sent to nobody, and the ledger says why:

  curl -s http://{public}/v1/events?k=wk_shop_demo -H 'Content-Type: application/json' -d '{refused}'

Stop with Ctrl-C.
"""
DELIVERED = (
    '{"name":"purchase","user":{"id":"u-1","email":"jane@example.com"},"ids":{"ga_client_id":"1.2"},'
    '"page":{"url":"https://shop.example/thanks"},"props":{"transaction_id":"1001","value":42.5,"currency":"EUR"},'
    '"items":[{"id":"sku-1","name":"Cup","price":42.5,"quantity":1}],'
    '"consent":{"ad_storage":"granted","ad_user_data":"granted","ad_personalization":"granted","analytics_storage":"granted"}}'
)
REFUSED = (
    '{"name":"purchase","user":{"email":"john@example.com"},"page":{"url":"https://shop.example/thanks"},'
    '"props":{"transaction_id":"1002","value":9,"currency":"EUR"},"consent":{"ad_storage":"denied","analytics_storage":"denied"}}'
)


@click.command()
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), help="Keep the store here. Default: a temporary folder."
)
def demo(data: Path | None) -> None:
    """Start the gateway and the vendors' lab on loopback.

    No account, no key, no network: the vendors are emulators that are as strict
    as the real ones. Prints what to open and two hits to send.
    """
    with tempfile.TemporaryDirectory(prefix="tagway-demo-") as folder:
        uvloop.run(_run(data or Path(folder)))


async def _run(data: Path) -> None:
    path = demo_config()
    config = load(path)
    lab_host, _, lab_port = lab_address(config).rpartition(":")
    lab = await start_lab(lab_host, int(lab_port), Clock())
    gateway = GatewayProcess(path, {"TAGWAY_DEMO_DATA": str(data)})
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await gateway.start()
        await wait_ready(config.listen)
        click.echo(welcome(config, path))
        await stop.wait()
    finally:
        await gateway.stop()
        await lab.close()


def welcome(config: Gateway, path: Path) -> str:
    """What to open, and two hits to send."""
    return WELCOME.format(
        lab=lab_address(config),
        admin=config.admin.listen,
        metrics=config.metrics.listen,
        public=config.listen,
        config=path,
        delivered=DELIVERED,
        refused=REFUSED,
    )


def lab_address(config: Gateway) -> str:
    """host:port of the lab, as the demo's destinations name it."""
    for one in config.destinations.values():
        if one.endpoint:
            return one.endpoint.split("://", 1)[1].split("/", 1)[0]
    raise GatewayError("no destination of the demo names the lab as its endpoint")


async def wait_ready(address: str) -> None:
    """Return when /readyz answers 200. Raises GatewayError after 30 s."""
    deadline = asyncio.get_running_loop().time() + READY_SECONDS
    async with aiohttp.ClientSession() as session:
        while asyncio.get_running_loop().time() < deadline:
            try:
                async with session.get(f"http://{address}/readyz") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)
    raise GatewayError(f"the gateway did not come up on {address} within {READY_SECONDS:.0f} s; its log is above")
