"""The files that `tagway init` writes: commented, block style, and such that `tagway check` is content with them.

A destination's file comes from its vendor's manifest alone, so every vendor that `discover()` finds can be added. Written out
are the settings that are required, the one that names the account, and what the vendor's test facility needs; every other
setting stands there as a comment with what it does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.config.identity import DOMAIN
from gateway.config.schema import schema
from gateway.config.tree import plain
from gateway.manifest import Manifest, SettingSpec
from gateway.setup import shopify
from gateway.setup.block_lists import Names, block_lists
from gateway.setup.keys import variable_of
from gateway.setup.site import domain_of

SCHEMAS = ("gateway", "destination")
_SETTING = re.compile(r"\$setting\.([a-z][a-z0-9_]*)")
_WIDTH = 118


@dataclass(frozen=True, slots=True)
class Site:
    """What `init` was told and found out."""

    source: str
    host: str
    origins: tuple[str, ...]
    write_key: str
    names: Names
    shopify: bool = False


@dataclass(frozen=True, slots=True)
class Variable:
    """A line of `.env.example`; `needed` ones must be filled in before the gateway starts."""

    name: str
    help: str
    needed: bool


def gateway_yaml(site: Site) -> str:
    """`configs/gateway.yaml`."""
    origins = "\n".join(f"      - {origin}" for origin in site.origins)
    return f"""\
# yaml-language-server: $schema=./.schema/gateway.json
# One gateway for {site.host}.  Check it with: tagway check
# Secrets are ${{NAME}} (environment) or ${{file:/run/secrets/name}}.  Relative paths start at the file that names them.

listen: 0.0.0.0:8080                     # what browsers, shops and servers send to; TLS ends in the proxy before it

admin:                                   # the page, the ledger, dead letters, replay, reload
  listen: 127.0.0.1:9090                 # anything but loopback needs a token
  token: ${{TAGWAY_ADMIN_TOKEN:-}}

metrics:
  listen: 127.0.0.1:9464                 # Prometheus: no token, no personal data

trusted_proxies:                         # whose X-Forwarded-For is believed: private, cloudflare, cloudfront or networks
  - private

geo:
  country_header: CF-IPCountry           # set by the proxy in front, if it sets one; for `jurisdiction: auto` below

# Neutral names beside the default routes: some of those are on public block lists.  These are on none of the patterns
# read on {block_lists().read}.  It is for reliability, not against a visitor's choice.
paths:
  prefix: /{site.names.prefix}
  events: {site.names.events}
  pixel: {site.names.pixel}
  tag: {site.names.tag}

queue:
  kind: sqlite
  path: ../data                          # a folder on a local disk; accepted events are here before they are answered
  retention:                             # whichever comes first; what falls off is counted as expired
    age: 7d
    bytes: 20GB
  personal: 72h                          # afterwards settled events lose user, device, ids and URL queries
  ack: durable                           # durable: answer after the disk has it; written: within 50 ms of it

sources:
  {site.source}:
    hosts:                               # without a key the Host of a request names the source
      - {site.host}
    origins:                             # exactly as browsers send them; checked when there is one
{origins}
    write_keys:                          # public: they stand in the page's source
      - {site.write_key}
{shopify.SETTINGS if site.shopify else ""}{_identity(site)}    consent:
      unknown: denied                    # what silence means: denied, or jurisdiction (as the country's law has it)
      jurisdiction: auto                 # auto (needs a country), opt_in, opt_out or none

destinations: destinations/              # a folder beside this file: one file each, named after it
"""


def _identity(site: Site) -> str:
    """The domain that pages and gateway share, where there is one for their cookies."""
    name = domain_of(site.host, site.origins)
    if name is None or not DOMAIN.fullmatch(name):
        return ""
    about = "# first-party cookies, only where consent allows them: docs/first-party.md"
    return f"    identity:                            {about}\n      domain: .{name}\n"


def destination_yaml(manifest: Manifest, sources: Sequence[str]) -> str:
    """`configs/destinations/<vendor>.yaml`."""
    lines = [
        "# yaml-language-server: $schema=../.schema/destination.json",
        f"# {manifest.name}: {manifest.docs}",
        f"# What it sends for each event: tagway explain --mapping {manifest.name} purchase",
        f"type: {manifest.name}",
        "sources:",
        *(f"  - {source}" for source in sources),
        f"mode: dry_run                            # {_modes(manifest)}",
        "",
        *_settings(manifest),
        *_consent(manifest),
        "",
        "bots:",
        "  max_score: 50                          # 0 is a person, 100 certainly a bot",
        "",
        f"unlisted: {'send' if manifest.sends_unlisted else 'skip'}                           # events that the mapping"
        " does not list: skip or send",
        "",
        "# A patch over the vendor's own mapping: maps merge by key, null takes away.",
        "# events:",
        "#   scroll: null                         # this event is not sent",
    ]
    return "\n".join(lines) + "\n"


def variables(manifest: Manifest) -> list[Variable]:
    """What the destination's file reads from the environment."""
    found = []
    for name in written_settings(manifest):
        spec = manifest.settings[name]
        needed = spec.required or name not in code_settings(manifest)
        found.append(Variable(variable_of(manifest.name, name), spec.help or "", needed))
    return found


def env_example(manifests: Sequence[Manifest], *, shop: bool = False) -> str:
    """`.env.example`; `shop` with the secret of Shopify's webhooks."""
    lines = [
        "# Copy to .env, fill in, and keep .env out of version control.  Then:  set -a; . ./.env; set +a",
        "# Values with blanks or $ need single quotes.",
        "",
        "# Only where the admin listener is bound beyond this machine.",
        "TAGWAY_ADMIN_TOKEN=",
    ]
    if shop:
        lines += ["", "# Shopify, Settings, Notifications, Webhooks: the key under the list.", f"{shopify.SECRET}="]
    for manifest in manifests:
        lines += ["", f"# {manifest.name}: {manifest.docs}"]
        for one in variables(manifest):
            lines += [*_comment(one.help if one.needed else f"{one.help} (may stay empty)", ""), f"{one.name}="]
    return "\n".join(lines) + "\n"


def schemas() -> dict[str, bytes]:
    """File name → JSON Schema, so that an editor completes keys."""
    return {f"{what}.json": orjson.dumps(schema(what), option=orjson.OPT_INDENT_2) + b"\n" for what in SCHEMAS}


def written_settings(manifest: Manifest) -> list[str]:
    """The settings that a new file writes out, in the manifest's order."""
    names = [name for name, spec in manifest.settings.items() if spec.required]
    if not any(not manifest.settings[name].secret for name in names):
        names += [name for name, spec in manifest.settings.items() if not spec.secret][:1]
    names += code_settings(manifest)
    return [name for name in manifest.settings if name in names]


def code_settings(manifest: Manifest) -> list[str]:
    """The settings that the vendor's test facility reads: `test_event_code`."""
    found = {name for text in _texts(manifest.test) for name in _SETTING.findall(text)}
    return [name for name in manifest.settings if name in found]


def _modes(manifest: Manifest) -> str:
    test = "test (the vendor's test facility), " if manifest.test is not None else ""
    return f"live, {test}dry_run (rendered and shown, nothing leaves), off"


def _settings(manifest: Manifest) -> Iterator[str]:
    yield "settings:"
    written = written_settings(manifest)
    tested = code_settings(manifest)
    for name in written:
        yield from _comment(manifest.settings[name].help or "", "  ")
        default = ":-" if name in tested and not manifest.settings[name].required else ""
        yield f"  {name}: ${{{variable_of(manifest.name, name)}{default}}}"
    others = [name for name in manifest.settings if name not in written]
    if others:
        yield ""
        yield "  # All the rest may be left out:"
    for name in others:
        spec = manifest.settings[name]
        yield from _comment(_described(spec), "  #   ", mark="")
        yield f"  # {name}: {_sample(manifest.name, name, spec)}"


def _described(spec: SettingSpec) -> str:
    words = [spec.help or ""]
    if spec.enum:
        words.append(f"one of {', '.join(spec.enum)}")
    return "; ".join(word for word in words if word)


def _sample(vendor: str, name: str, spec: SettingSpec) -> str:
    """A value to begin with, in one line that is good YAML."""
    reference = f"${{{variable_of(vendor, name)}}}"
    if spec.type == "map":
        return '{"name": "' + reference + '"}' if spec.secret else "{}"
    if spec.secret:
        return reference
    if spec.default is not None:
        return orjson.dumps(plain(spec.default)).decode() if spec.type in ("list", "map") else str(spec.default)
    samples: dict[str, Any] = {"bool": "false", "int": "0", "float": "0", "list": "[]"}
    return str(samples.get(spec.type, spec.enum[0] if spec.enum else reference))


def _consent(manifest: Manifest) -> Iterator[str]:
    yield ""
    yield "consent:"
    yield "  requires:                              # each must be granted; unknown counts as denied"
    yield from (f"    - {purpose}" for purpose in manifest.consent.requires)
    if not manifest.consent.requires:
        yield "    []"
    if manifest.ads:
        limit = ", or limit: send with the vendor's limited-data flag" if manifest.consent.limit is not None else ""
        yield f"  on_opt_out: skip                       # after an opt-out of sale: skip{limit}"
    if manifest.ads and manifest.consent.tcf_vendor is None:
        yield f"  # purposes_only: true                  # {manifest.name} is not in the IAB vendor list; with this a TCF"
        yield "                                         # string is judged by its purposes alone.  Without it TCF cannot grant."


def _comment(text: str, indent: str, *, mark: str = "# ") -> Iterator[str]:
    line = ""
    for word in text.split():
        if line and len(indent) + len(mark) + len(line) + len(word) + 1 > _WIDTH:
            yield f"{indent}{mark}{line}"
            line = ""
        line = f"{line} {word}".strip()
    if line:
        yield f"{indent}{mark}{line}"


def _texts(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        for value in tree.values():
            yield from _texts(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _texts(value)
    elif isinstance(tree, str):
        yield tree
