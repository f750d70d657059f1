"""`tagway drain`, and the client of a node named by its URL: for several gateways behind one balancer."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from gateway.cli.common import AdminClient, config_option, json_option, load_config, print_json, progress_bar
from gateway.errors import GatewayError

POLL_SECONDS = 1.0


def node_client(url: str) -> AdminClient:
    """The admin listener of a node: `http://10.0.0.7:9090`; the token is TAGWAY_ADMIN_TOKEN. Raises GatewayError."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/"):
        raise GatewayError(f"{url} is not the base of an admin listener, such as http://10.0.0.7:9090")
    return AdminClient.at(f"{parts.hostname}:{parts.port or 9090}", os.environ.get("TAGWAY_ADMIN_TOKEN", ""))


@click.command()
@config_option
@json_option
@click.option("--node", help="The admin listener of another machine: http://10.0.0.7:9090. Token: TAGWAY_ADMIN_TOKEN.")
@click.option("--timeout", type=click.FloatRange(0), default=3600.0, show_default=True, help="Give up after so many seconds.")
@click.option("--undo", is_flag=True, help="Take hits again.")
def drain(config_path: Path | None, as_json: bool, node: str | None, timeout: float, undo: bool) -> None:
    """Empty a node before it goes: no new hits, deliveries until nothing is queued.

    /readyz turns false at once, so that the balancer sends no more; hits that come
    all the same are still taken. Exit 0 when every destination has everything,
    1 when that is not so after the timeout (what is left stays on the node's disk).

    \b
    tagway drain && systemctl stop tagway
    tagway drain --node http://10.0.0.7:9090 --timeout 600
    """
    client = node_client(node) if node else AdminClient(load_config(config_path, secrets=False))
    client.post("/drain", {"on": not undo})
    if undo:
        print_json({"draining": False}) if as_json else click.echo("takes hits again")
        return
    left = _wait(client, timeout)
    if as_json:
        print_json({"draining": True, "queued": left})
    elif left:
        waiting = ", ".join(f"{lane} {n}" for lane, n in left.items())
        click.echo(f"still queued after {timeout:.0f} s: {waiting}; it stays on the node's disk", err=True)
    else:
        click.echo("empty: every destination has everything")
    if left:
        raise SystemExit(1)


def _wait(client: AdminClient, timeout: float) -> dict[str, int]:
    """What is queued in the end, by destination."""
    deadline = time.monotonic() + timeout
    left = _queued(client)
    total = sum(left.values())
    with progress_bar(total, "drain") as bar:
        done = 0
        while left and time.monotonic() < deadline:
            time.sleep(min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))
            left = _queued(client)
            bar.update(max(0, total - sum(left.values()) - done))
            done = max(done, total - sum(left.values()))
    return left


def _queued(client: AdminClient) -> dict[str, int]:
    lanes: list[dict[str, Any]] = client.get("/lanes")["lanes"]
    return {lane["destination"]: lane["queued"] for lane in lanes if lane["queued"]}
