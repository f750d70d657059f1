"""`tagway tap`: events as they settle, live in the terminal, with the outcome in words."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import orjson

from gateway.cli.common import AdminClient, config_option, json_option, load_config

POLL_SECONDS = 1.0


@click.command()
@config_option
@json_option
@click.option("--to", help="Only this destination.")
@click.option("--event", "name", help="Only events of this name.")
@click.option("--outcome", help="Only this outcome: delivered, skipped, rejected …")
def tap(config_path: Path | None, as_json: bool, to: str | None, name: str | None, outcome: str | None) -> None:
    """Follow events live, until Ctrl-C.

    \b
    tagway tap
    tagway tap --to meta --outcome skipped
    tagway tap --event purchase --json

    Personal data and secrets are masked.
    """
    client = AdminClient(load_config(config_path, secrets=False))
    for row in _rows(client):
        if to in (None, row.get("destination")) and name in (None, row.get("name")) and outcome in (None, row.get("outcome")):
            click.echo(orjson.dumps(row).decode() if as_json else str(row))


def _rows(client: AdminClient) -> Iterator[dict[str, Any]]:
    while True:
        yield from client.get("/recent")["events"]
        time.sleep(POLL_SECONDS)
