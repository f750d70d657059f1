"""`tagway doctor`: DNS, TLS, proxy trust, Safari, CORS, CSP, block lists and clock of a tagging host, from outside."""

from __future__ import annotations

import asyncio

import click

from gateway.cli.common import json_option, print_json
from gateway.doctor import examine, patient_of

_SIGNS = {"fine": ("ok", "green"), "warning": ("!", "yellow"), "fault": ("x", "red")}


@click.command()
@json_option
@click.argument("url")
@click.option("--site", help="The site whose pages send: https://shop.example. Adds Safari, CORS and CSP.")
@click.option("--path", "events", default="/v1/events", show_default=True, help="Where pages send, if `paths` renames it.")
def doctor(as_json: bool, url: str, site: str | None, events: str) -> None:
    """Look at a tagging host as browsers meet it; exit 1 if there is a fault.

    \b
    tagway doctor https://t.shop.example --site https://shop.example

    Reads /readyz, sends CORS preflights and reads the site's first page; sends
    no hit and changes nothing.
    """
    found = asyncio.run(examine(patient_of(url, site, events)))
    if as_json:
        print_json([{"level": f.level, "check": f.check, "words": f.words, "advice": f.advice} for f in found])
    else:
        for finding in found:
            sign, colour = _SIGNS[finding.level]
            click.echo(f"{click.style(f'{sign:>2}', fg=colour)}  {finding.check:<12} {finding.words}")
            if finding.advice and finding.level != "fine":
                click.echo(f"{'':17}{click.style(finding.advice, dim=True)}")
    if any(finding.level == "fault" for finding in found):
        raise SystemExit(1)
