"""`tagway destinations`, `schema`, `completion`: what this program knows."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import get_completion_class

from gateway import event
from gateway.cli.common import json_option, print_json
from gateway.config.schema import schema as config_schema
from gateway.manifest import Manifest, discover, load_manifest


@click.command()
@json_option
def destinations(as_json: bool) -> None:
    """List the vendors: `ls destinations/` with category, API version and its dates."""
    manifests = [load_manifest(name) for name in discover()]
    if as_json:
        print_json([_row(manifest) for manifest in manifests])
        return
    click.echo(f"{'type':<16}{'category':<12}{'API':<10}{'ends':<12}{'max age':<9}settings")
    for manifest in manifests:
        row = _row(manifest)
        age = f"{row['max_age'] / 86400:g}d" if row["max_age"] else "-"
        required = ", ".join(row["required_settings"]) or "-"
        click.echo(f"{row['type']:<16}{row['category']:<12}{row['api'] or '-':<10}{row['ends'] or '-':<12}{age:<9}{required}")


def _row(manifest: Manifest) -> dict[str, Any]:
    version = manifest.version
    return {
        "type": manifest.name,
        "category": manifest.category,
        "docs": manifest.docs,
        "api": version.api if version else None,
        "ends": str(version.ends) if version and version.ends else None,
        "max_age": manifest.limits.max_age,
        "confirms": manifest.confirms,
        "required_settings": [name for name, spec in manifest.settings.items() if spec.required],
    }


@click.command()
@click.argument("what", type=click.Choice(["event", "gateway", "destination", "manifest"]))
def schema(what: str) -> None:
    """Print a JSON Schema, for editors and programs."""
    print_json(event.json_schema() if what == "event" else config_schema(what))


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of your shell.

    \b
    bash:  eval "$(tagway completion bash)"      in ~/.bashrc
    zsh:   eval "$(tagway completion zsh)"       in ~/.zshrc
    fish:  tagway completion fish | source       in config.fish
    """
    from gateway.cli import main

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"no completion for {shell}")
    click.echo(found(main, {}, "tagway", "_TAGWAY_COMPLETE").source())
