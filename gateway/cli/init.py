"""`tagway init`: the files of a new gateway; nothing is asked that can be found out, nothing is ever overwritten."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from gateway.cli.common import json_option, print_json
from gateway.config.load import load
from gateway.config.sources import good_name, unnamed
from gateway.config.words import hint
from gateway.errors import GatewayError
from gateway.manifest import Manifest, discover, load_manifest
from gateway.setup import shopify
from gateway.setup.block_lists import block_lists, neutral_names
from gateway.setup.files import Site, destination_yaml, env_example, gateway_yaml, schemas, variables
from gateway.setup.keys import write_key
from gateway.setup.site import domain_of, host_of, origins_of, source_of

SNIPPET = """\
<script>
  window.tagway = window.tagway || function () {{ (tagway.q = tagway.q || []).push(arguments); }};
  // Until your banner was told more. While it says denied, events are counted and sent on to nobody.
  tagway("consent", "default", {{
    ad_storage: "denied", ad_user_data: "denied", ad_personalization: "denied", analytics_storage: "denied"
  }});
</script>
<script async src="https://{host}/{prefix}/{tag}?k={key}"></script>"""


@click.command()
@json_option
@click.option("--site", help="Where the pages are: https://shop.example. Only left out to --add to what is there.")
@click.option("--host", help="The gateway's own name, a subdomain of the site. Default: t.<site>.")
@click.option("--add", default="", help="Destinations, with commas: meta,ga4. `tagway destinations` lists them.")
@click.option("--shopify", "shop", is_flag=True, help="A Shopify shop: also the custom pixel, and how to point its webhooks.")
@click.option("--source", help="What to call the site in files and figures. Default: from its address.")
@click.option(
    "--dir", "folder", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="Where to write. Default: here."
)
@click.option("--force", is_flag=True, help="Overwrite files that are there.")
def init(
    as_json: bool, site: str | None, host: str | None, add: str, shop: bool, source: str | None, folder: Path, force: bool
) -> None:
    """Write the files of a new gateway.

    \b
    tagway init --site https://shop.example --host t.shop.example --add meta,ga4
    tagway init --add tiktok           one more destination, beside the files that are there
    tagway init --shopify              the custom pixel and the webhooks of a shop, for the files that are there

    \b
    configs/gateway.yaml               one source for the site, a random write key, neutral paths
    configs/destinations/<name>.yaml   one per destination, in mode dry_run: nothing leaves yet
    configs/.schema/*.json             so that editors complete keys
    .env.example                       the secrets to fill in

    Prints the DNS record, the snippet for the page, and the next command.
    """
    manifests = _manifests(add)
    if site is None and shop and not manifests:
        _shop(folder, source, force, as_json)
        return
    if site is None:
        _add(folder, manifests, force, as_json)
        return
    origins = origins_of(site)
    name = source or source_of(origins)
    if not good_name(name):
        raise click.UsageError(unnamed(name, "the source"))
    gateway_host = host_of(host, origins)
    made = Site(name, gateway_host, origins, write_key(name), neutral_names(gateway_host), shop)
    written = _write(folder, _files(made, manifests), force)
    if as_json:
        print_json(_json(made, manifests, written))
        return
    for path in written:
        click.echo(f"wrote {path}")
    click.echo(_next_steps(made, manifests, folder))


def _add(folder: Path, manifests: Sequence[Manifest], force: bool, as_json: bool) -> None:
    """Further destinations for a configuration that is there; the schemas are made anew."""
    path = folder / "configs" / "gateway.yaml"
    if not manifests or not path.is_file():
        raise click.UsageError("name the site with --site (or, where configs/gateway.yaml is, a destination with --add)")
    sources = list(load(path, secrets=False).sources)
    files = {f"configs/destinations/{one.name}.yaml": destination_yaml(one, sources).encode() for one in manifests}
    written = _write(folder, files, force) + _write(folder, _schema_files(), True)
    needed = _needed(manifests)
    if as_json:
        print_json({"files": written, "variables": needed})
        return
    for one in written:
        click.echo(f"wrote {one}")
    lines = [
        "",
        "Add to .env:",
        *(f"  {name}=" for name in needed),
        "",
        "Next:",
        "  set -a; . ./.env; set +a",
        "  tagway check",
    ]
    click.echo("\n".join(lines))


def _shop(folder: Path, source: str | None, force: bool, as_json: bool) -> None:
    """The custom pixel of a shop whose configuration is there, and what to write into it."""
    path = folder / "configs" / "gateway.yaml"
    if not path.is_file():
        raise click.UsageError("name the site with --site (or be where configs/gateway.yaml is)")
    config = load(path, secrets=False)
    name = source or (next(iter(config.sources)) if len(config.sources) == 1 else "")
    if name not in config.sources:
        raise click.UsageError(f"name the source with --source: {', '.join(config.sources)}")
    found = config.sources[name]
    if not found.hosts or not found.write_keys:
        raise GatewayError(f"sources.{name} needs hosts and write_keys: the pixel sends to the one with the other")
    paths = found.paths or config.paths
    events = f"{paths.prefix}/{paths.events.strip('/')}" if paths.events else f"{paths.prefix}/v1/events"
    code = shopify.pixel(found.hosts[0], events, found.write_keys[0])
    written = _write(folder, {f"configs/{shopify.PIXEL_FILE}": code.encode()}, force)
    missing = [] if found.null_origin and found.hooks.shopify else shopify.SETTINGS.splitlines()
    if as_json:
        print_json({"files": written, "variables": [shopify.SECRET], "pixel": code, "settings": missing})
        return
    add = ["", f"Add to sources.{name} in {path}, and {shopify.SECRET}= to .env:", *missing] if missing else []
    click.echo("\n".join([*(f"wrote {one}" for one in written), *add, *_shop_steps(found.hosts[0], name, code)]))


def _shop_steps(host: str, source: str, code: str) -> list[str]:
    return [
        "",
        f"Custom pixel for Shopify (also in configs/{shopify.PIXEL_FILE}):",
        *(f"  {line}".rstrip() for line in code.splitlines()),
        "",
        *shopify.steps(host, source),
    ]


def _pixel(site: Site) -> str:
    return shopify.pixel(site.host, f"/{site.names.prefix}/{site.names.events}", site.write_key)


def _manifests(add: str) -> list[Manifest]:
    known = discover()
    names = list(dict.fromkeys(word.strip() for word in add.split(",") if word.strip()))
    unknown = [f"there is no destination {name}{hint(name, known, lead='there are')}" for name in names if name not in known]
    if unknown:
        raise GatewayError("\n".join(unknown))
    return [load_manifest(name) for name in names]


def _files(site: Site, manifests: Sequence[Manifest]) -> dict[str, bytes]:
    files = {"configs/gateway.yaml": gateway_yaml(site).encode()}
    for manifest in manifests:
        files[f"configs/destinations/{manifest.name}.yaml"] = destination_yaml(manifest, [site.source]).encode()
    if site.shopify:
        files[f"configs/{shopify.PIXEL_FILE}"] = _pixel(site).encode()
    return {**files, **_schema_files(), ".env.example": env_example(manifests, shop=site.shopify).encode()}


def _schema_files() -> dict[str, bytes]:
    return {f"configs/.schema/{name}": content for name, content in schemas().items()}


def _write(folder: Path, files: dict[str, bytes], force: bool) -> list[str]:
    there = [str(folder / name) for name in files if (folder / name).exists()]
    if there and not force:
        lines = [f"{path} is there already" for path in there]
        raise GatewayError("\n".join([*lines, "nothing was written; --force overwrites, --dir writes elsewhere"]))
    try:
        (folder / "configs" / "destinations").mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    except OSError as error:
        raise GatewayError(f"cannot write {error.filename}: {error.strerror}") from None
    return [str(folder / name) for name in files]


def _snippet(site: Site) -> str:
    names = site.names
    return SNIPPET.format(host=site.host, prefix=names.prefix, tag=names.tag, key=site.write_key)


def _next_steps(site: Site, manifests: Sequence[Manifest], folder: Path) -> str:
    here = "" if folder == Path() else f"cd {folder} && "
    tested = next((one.name for one in manifests if one.test is not None), None)
    steps = [
        "",
        "DNS record (the address of the machine or proxy that will run the gateway):",
        f"  {site.host}.  A  <its address>",
        *_foreign(site),
        "",
        *_page_steps(site),
        "",
        f"The paths {', '.join(f'/{site.names.prefix}/{name}' for name in (site.names.events, site.names.pixel))} and "
        f"/{site.names.prefix}/{site.names.tag} are on none of the block-list patterns read on {block_lists().read}.",
        "",
        "Next:",
        f"  {here}cp .env.example .env        fill in {', '.join(_secrets(site, manifests)) or 'nothing yet'}",
        "  set -a; . ./.env; set +a",
        "  tagway check",
    ]
    if tested:
        steps.append(f"  tagway send purchase --to {tested} --test CODE")
    return "\n".join([*steps, "  tagway serve"])


def _page_steps(site: Site) -> list[str]:
    """What sends the visitors' hits: a snippet, in a shop the custom pixel in its place."""
    if site.shopify:
        return _shop_steps(site.host, site.source, _pixel(site))[1:]
    return ["Snippet for the page, before </head>:", *(f"  {line}" for line in _snippet(site).splitlines())]


def _secrets(site: Site, manifests: Sequence[Manifest]) -> list[str]:
    return [*([shopify.SECRET] if site.shopify else ()), *_needed(manifests)]


def _foreign(site: Site) -> list[str]:
    if domain_of(site.host, site.origins):
        return []
    return [f"  {site.host} and the site have no domain in common: browsers will treat its cookies as third-party"]


def _needed(manifests: Sequence[Manifest]) -> list[str]:
    return [one.name for manifest in manifests for one in variables(manifest) if one.needed]


def _json(site: Site, manifests: Sequence[Manifest], written: list[str]) -> dict[str, Any]:
    return {
        "files": written,
        "source": site.source,
        "host": site.host,
        "origins": list(site.origins),
        "write_key": site.write_key,
        "paths": {
            "prefix": f"/{site.names.prefix}",
            "events": site.names.events,
            "pixel": site.names.pixel,
            "tag": site.names.tag,
        },
        "block_lists_read": block_lists().read,
        "variables": _secrets(site, manifests),
        **({"pixel": _pixel(site)} if site.shopify else {"snippet": _snippet(site)}),
    }
