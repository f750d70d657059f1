"""`tagway new-destination`: the two files a new vendor starts from."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from gateway.cli.common import json_option, print_json
from gateway.manifest import Manifest
from gateway.setup.new_vendor import new_vendor, section

_CATEGORIES = get_args(Manifest.model_fields["category"].annotation)


@click.command(name="new-destination")
@click.argument("name")
@click.option("--url", required=True, help="Where events are posted to.")
@click.option("--docs", required=True, help="The vendor's documentation of it.")
@click.option("--title", help="The vendor as people call it. Default: NAME.")
@click.option(
    "--category",
    type=click.Choice(_CATEGORIES),
    default="analytics",
    show_default=True,
    help="What it does; ads need consent for ads.",
)
@click.option(
    "--dir", "folder", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="A checkout; else this."
)
@json_option
def new_destination(name: str, url: str, docs: str, title: str | None, category: str, folder: Path, as_json: bool) -> None:
    """Begin a vendor of your own: its manifest and its golden cases, in a checkout.

    \b
    tagway new-destination acme --category ads --url https://api.acme.example/v1/events --docs https://acme.example/docs

    Both files work as they stand and say what to look up. The contract suite then runs over the new vendor as over every
    other: make test-fast.
    """
    places = new_vendor(folder, name, title or name, url, docs, category)
    text = section(name, title or name, url)
    if as_json:
        print_json({"written": [str(place) for place in places], "section": text})
        return
    for place in places:
        click.echo(f"wrote {place}")
    click.echo(
        f"\nA section for docs/destinations.md, which names every setting and event:\n\n{section(name, title or name, url)}"
    )
    click.echo("What its settings are in tests: SETTINGS in tests/destination_kit.py")
    click.echo(f'  "{name}": {{"access_token": "s3cr3t-access-token"}},\n')
    click.echo(f"Next:\n  SNAPSHOTS=write python -m pytest tests/test_destinations.py -k {name}")
    click.echo("  make test-fast")
