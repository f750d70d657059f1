"""`tagway demo`: a shop, a gateway and four vendors on this machine."""

from __future__ import annotations

import asyncio
import signal
import tempfile
import time
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import uvloop

from gateway.demo.configuration import WRITE_KEY
from gateway.demo.ports import OPTIONS, USUAL, Ports, choose, moved
from gateway.demo.running import Demo
from gateway.demo.running import demo as running_demo

WELCOME = """
Tagway is up, {seconds:.1f} s after the start. Nothing leaves this machine.

  open this             http://127.0.0.1:{ports.shop}/     buy something, say no, take a vendor down, kill the gateway
  every event's story   http://127.0.0.1:{ports.admin}/
  vendors' inboxes      http://127.0.0.1:{ports.lab}/inbox
  metrics               http://127.0.0.1:{ports.metrics}/metrics
  the equation          tagway audit -c {config}

A purchase that is delivered to four vendors:

  curl -s http://127.0.0.1:{ports.gateway}/v1/events?k={key} -H 'Content-Type: application/json' -d '{delivered}'

The same without consent: stored, counted, sent to nobody, and the ledger says why:

  curl -s http://127.0.0.1:{ports.gateway}/v1/events?k={key} -H 'Content-Type: application/json' -d '{refused}'

Stop with Ctrl-C.
"""
DELIVERED = (
    '{"name":"purchase","user":{"id":"u-1","email":"jane@example.com"},"ids":{"ga_client_id":"1.2","ga_session_id":"1795500000"},'
    '"page":{"url":"https://shop.example/thanks"},"props":{"transaction_id":"901","value":42.5,"currency":"EUR"},'
    '"items":[{"id":"sku-1","name":"Cup","price":42.5,"quantity":1}],'
    '"consent":{"ad_storage":"granted","ad_user_data":"granted","ad_personalization":"granted","analytics_storage":"granted"}}'
)
REFUSED = (
    '{"name":"purchase","user":{"email":"john@example.com"},"page":{"url":"https://shop.example/thanks"},'
    '"props":{"transaction_id":"902","value":9,"currency":"EUR"},"consent":{"ad_storage":"denied","analytics_storage":"denied"}}'
)


def _port(name: str, help_: str) -> Callable[[Any], Any]:
    text = f"{help_} Default: {getattr(USUAL, name)}, or the next free one."
    return click.option(OPTIONS[name], name, type=click.IntRange(1, 65535), help=text)


@click.command()
@_port("shop", "Port of the shop.")
@_port("gateway", "Port that takes hits.")
@_port("admin", "Port of the admin page.")
@_port("metrics", "Port of /metrics.")
@_port("lab", "Port of the vendors' emulators.")
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), help="Keep the store here. Default: a temporary folder."
)
@click.option("--open", "open_browser", is_flag=True, help="Open the shop in the browser.")
@click.option("-v", "--verbose", is_flag=True, help="Show all log lines of the gateway, not only warnings.")
def demo(data: Path | None, open_browser: bool, verbose: bool, **ports: int | None) -> None:
    """A shop, the gateway and four vendors on this machine.

    No account, no key, no network: the vendors are emulators that are as strict
    as the real ones. In the browser: buy something with and without consent,
    take a vendor down, kill the gateway, and watch what each vendor gets.

    \b
    tagway demo --open              start it and open the shop
    tagway demo --port 8095         the shop on another port
    tagway demo --data ./demo       keep events over a restart
    """
    began = time.monotonic()
    chosen = choose(ports)
    with tempfile.TemporaryDirectory(prefix="tagway-demo-", ignore_cleanup_errors=True) as folder:
        uvloop.run(_run(data or Path(folder), chosen, began, open_browser=open_browser, verbose=verbose))


async def _run(folder: Path, ports: Ports, began: float, *, open_browser: bool, verbose: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    for line in moved(ports):
        click.echo(line)
    click.echo("Starting the gateway and the vendors …")
    async with running_demo(folder, ports, _say, verbose=verbose, began=began) as running:
        click.echo(welcome(running, time.monotonic() - began))
        if open_browser:
            await loop.run_in_executor(None, webbrowser.open, f"http://127.0.0.1:{ports.shop}/")
        telling = asyncio.create_task(_tell_first(running), name="demo-first-delivery")
        await stop.wait()
        telling.cancel()
        click.echo("\nStopping …")


def welcome(running: Demo, seconds: float) -> str:
    """What to open, and two hits to send."""
    return WELCOME.format(
        ports=running.ports, config=running.config, key=WRITE_KEY, delivered=DELIVERED, refused=REFUSED, seconds=seconds
    )


async def _tell_first(running: Demo) -> None:
    await running.board.delivered.wait()
    click.echo(f"First event delivered {running.board.first:.1f} s after the start.")


def _say(line: str) -> None:
    click.echo(line, err=True)
