"""`tagway keys`: write keys and server keys, and where each of them belongs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gateway.cli.common import config_option, json_option, load_config, print_json, some_config
from gateway.errors import GatewayError
from gateway.setup.keys import masked_key, server_key, variable_of, write_key


@click.group()
def keys() -> None:
    """Make keys, and see which there are.

    \b
    A write key stands in the page's source, so it is public: it only names the source.
    A server key is secret: whoever has it may say whose address and agent a hit has.

    \b
    tagway keys new                     a write key
    tagway keys new --server            a server key
    tagway keys list
    """


@keys.command("new")
@config_option
@json_option
@click.option("--server", is_flag=True, help="A secret key for your own servers, in place of a public write key.")
@click.option("--source", help="The source it is for; may be left out while there is one.")
def keys_new(config_path: Path | None, as_json: bool, server: bool, source: str | None) -> None:
    """Make a random key and say where to put it. Nothing is written.

    \b
    tagway keys new --source shop
    tagway keys new --source shop --server
    """
    name = _source(config_path, source)
    key = server_key(name) if server else write_key(name)
    variable = variable_of(name, "server_key")
    if as_json:
        print_json(
            {"source": name, "kind": "server" if server else "write", "key": key, "variable": variable if server else None}
        )
        return
    click.echo(key)
    lines = _server_steps(name, key, variable) if server else _write_steps(name, key)
    click.echo("\n".join(["", *lines]), err=True)


@keys.command("list")
@config_option
@json_option
@click.option("--show", is_flag=True, help="Show write keys whole: they are public. Server keys stay masked.")
def keys_list(config_path: Path | None, as_json: bool, show: bool) -> None:
    """List the keys of every source, masked."""
    config = load_config(config_path, secrets=False)
    rows: list[dict[str, Any]] = []
    for name, source in config.sources.items():
        rows += [{"source": name, "kind": "write", "key": k if show else masked_key(k)} for k in source.write_keys]
        rows += [{"source": name, "kind": "server", "key": masked_key(k.get_secret_value())} for k in source.server_keys]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        click.echo(f"{row['source']:<16}{row['kind']:<8}{row['key']}")
    if not rows:
        click.echo("no source has a key; hits are named by the Host they are sent to")


def _source(config_path: Path | None, source: str | None) -> str:
    config = some_config(config_path)
    if config is None:
        return source or "shop"
    if source is None and len(config.sources) == 1:
        return next(iter(config.sources))
    if source not in config.sources:
        raise GatewayError(f"name the source with --source: {', '.join(config.sources)}")
    return source


def _write_steps(source: str, key: str) -> list[str]:
    return [
        "It is public. Put it into gateway.yaml:",
        "",
        "  sources:",
        f"    {source}:",
        "      write_keys:",
        f"        - {key}",
        "",
        f"and into the page: https://<host>/v1/events?k={key}. An old key works until you remove its line.",
    ]


def _server_steps(source: str, key: str, variable: str) -> list[str]:
    return [
        "It is a secret. Put it into the environment (.env), and only there:",
        "",
        f"  {variable}={key}",
        "",
        "and its name into gateway.yaml:",
        "",
        "  sources:",
        f"    {source}:",
        "      server_keys:",
        f"        - ${{{variable}}}",
        "",
        "Your server sends it as: Authorization: Bearer <key>",
    ]
