"""`tagway link`: signed links for e-mails."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from gateway.cli.common import config_option, json_option, load_config, print_json
from gateway.errors import GatewayError
from gateway.setup.mail_links import one


@click.group()
def link() -> None:
    """Make links for e-mails: an image that counts opens, and redirects that count clicks.

    \b
    tagway link open --message spring-sale --recipient U-7
    tagway link click --message spring-sale --recipient U-7 --to https://shop.example/sale

    They are signed with the first of the source's links.keys. A program asks the admin
    listener (POST /links), or signs by itself: docs/email.md.
    """


def _fields(command: Any) -> Any:
    for option in (
        click.option("--consent", multiple=True, help="What the reader allowed: analytics_storage=granted. May be repeated."),
        click.option("--sent", help="When the mail goes out (RFC 3339). Default: now."),
        click.option("--campaign", help="The campaign's name."),
        click.option("--email", help="The reader's address, where there is no id: the link gets a keyed hash of it."),
        click.option("--recipient", help="An id of the reader; never an address."),
        click.option("--message", required=True, help="The mailing's id."),
        click.option("--source", help="The source; may be left out while one alone has links.keys."),
    ):
        command = option(command)
    return command


@link.command("open")
@config_option
@json_option
@_fields
def link_open(config_path: Path | None, as_json: bool, **wanted: Any) -> None:
    """The address of an image that counts an open.

    \b
    tagway link open --message spring-sale --recipient U-7

    Put it near the top of the mail:
    <img src="URL" width="1" height="1" alt="" style="display:block">
    """
    _make(config_path, as_json, {"kind": "open", **wanted})


@link.command("click")
@config_option
@json_option
@_fields
@click.option("--to", required=True, help="Where it leads: an https address.")
@click.option("--expires", help="Until when it leads there (RFC 3339). Default: for ever.")
def link_click(config_path: Path | None, as_json: bool, **wanted: Any) -> None:
    """An address that counts a click and leads on.

    \b
    tagway link click --message spring-sale --recipient U-7 --to https://shop.example/sale
    """
    _make(config_path, as_json, {"kind": "click", **wanted})


def _make(config_path: Path | None, as_json: bool, wanted: dict[str, Any]) -> None:
    asked = {key: value for key, value in wanted.items() if value not in (None, ())}
    if "consent" in asked:
        asked["consent"] = _choices(asked["consent"])
    made = one(load_config(config_path), asked, time.time())
    print_json(made) if as_json else click.echo(made["url"])


def _choices(given: tuple[str, ...]) -> dict[str, str]:
    pairs = [word.partition("=") for word in given]
    if not all(equals for _, equals, _ in pairs):
        raise GatewayError("--consent takes purpose=choice, for example analytics_storage=granted")
    return {purpose: choice for purpose, _, choice in pairs}
