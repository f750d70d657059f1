"""The `tagway` command: thin; parses, calls, prints. Each group of verbs has a module of its own.

One line per error on stderr and exit status 1; a wrong use of the command is exit status 2. `--json` wherever a program may
read the answer. A verb's module is imported when the verb is used, so that `tagway --help` is quick.
"""

from __future__ import annotations

import importlib
import keyword
import os
import sys
from typing import Any

import click

from gateway import __version__
from gateway.config.words import hint
from gateway.errors import GatewayError

VERBS = {
    "serve": "gateway.cli.serve",
    "demo": "gateway.cli.demo",
    "init": "gateway.cli.init",
    "check": "gateway.cli.check",
    "explain": "gateway.cli.explain",
    "send": "gateway.cli.send",
    "tap": "gateway.cli.tap",
    "audit": "gateway.cli.ledger",
    "dlq": "gateway.cli.ledger",
    "replay": "gateway.cli.ledger",
    "reload": "gateway.cli.ledger",
    "drain": "gateway.cli.nodes",
    "lab": "gateway.cli.lab",
    "destinations": "gateway.cli.show",
    "schema": "gateway.cli.show",
    "keys": "gateway.cli.keys",
    "link": "gateway.cli.link",
    "import": "gateway.cli.import_",
    "doctor": "gateway.cli.doctor",
    "new-destination": "gateway.cli.new_destination",
    "completion": "gateway.cli.show",
}
"""verb → the module that holds it, in the order in which --help lists them."""


class Verbs(click.Group):
    """A group that imports a verb's module when it is asked for, and prints our errors as single lines."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        attribute = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name.replace("-", "_")
        command: click.Command = getattr(importlib.import_module(VERBS[cmd_name]), attribute)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            ctx.fail(f"there is no verb {args[0]}{hint(args[0], VERBS, lead='there are')}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        if os.environ.get("NO_COLOR"):
            ctx.color = False
        try:
            return super().invoke(ctx)
        except GatewayError as error:
            for line in str(error).splitlines():
                click.echo(click.style("error: ", fg="red") + line, err=True)
            ctx.exit(1)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="tagway")
def main() -> None:
    """Server-side tagging that accounts for every event.

    \b
    First minute:      tagway demo
    Your own site:     tagway init --site https://shop.example --host t.shop.example --add meta,ga4
    A vendor's answer: tagway send purchase --to meta --test CODE
    Before a change:   tagway check · tagway check --online
    What happens now:  tagway tap --to meta
    What happened:     tagway audit · tagway explain --order 1001 · tagway dlq list
    """


def fail(message: str) -> None:
    """One line on stderr and exit status 1."""
    click.echo(click.style("error: ", fg="red") + message, err=True)
    sys.exit(1)
