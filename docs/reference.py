"""The generated parts of README.md and docs/*.md, made of the code they describe: cog calls these functions.

`make format` writes them, `make check` (cog --check) fails when one is out of date. Each function gives Markdown text.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import json
import math
import tempfile
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import aiohttp
import click
from click.testing import CliRunner
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from gateway.app import Tagway
from gateway.cli import VERBS, main
from gateway.config.load import load
from gateway.config.models import DestinationConfig, Gateway, SignalKind, Source
from gateway.config.validate import UNWRITTEN
from gateway.errors import RefusedReason
from gateway.lab import start_lab
from gateway.manifest import SettingSpec, discover, load_manifest
from gateway.observe.ledger import FAILURES, SENTENCES
from gateway.observe.metrics import FAMILIES
from gateway.outcomes import REASONS
from gateway.receive.routes import DIALECTS

ROOT = Path(__file__).parents[1]
WIDTH = 98
"""Columns of help texts: a terminal of 100."""


# ---------------------------------------------------------------- commands


def commands(names: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command as its words: `("dlq",)`, `("dlq", "list")` …"""
    for name in names or VERBS:
        yield (name,)
        found = main.get_command(click.Context(main), name)
        if isinstance(found, click.Group):
            yield from ((name, inner) for inner in found.list_commands(click.Context(found)))


def run(*words: str) -> str:
    """What a command prints, run in this process from the top of the checkout."""
    with contextlib.chdir(ROOT):
        done = CliRunner().invoke(main, list(words), prog_name="tagway", terminal_width=WIDTH)
    if done.exit_code or done.exception:
        raise RuntimeError(f"tagway {' '.join(words)} ended with {done.exit_code}: {done.output}{done.exception}")
    return done.output.rstrip() + "\n"


def help_of(*words: str) -> str:
    """A help text as a block."""
    return f"```text\n{run(*words, '--help')}```\n"


def verbs() -> str:
    """A heading and the help of every command."""
    return "\n".join(f"### `tagway {' '.join(words)}`\n\n{help_of(*words)}" for words in commands())


def verb_table() -> str:
    """Each verb with its first sentence."""
    rows = []
    for name in VERBS:
        found = main.get_command(click.Context(main), name)
        sentence = " ".join((found.help or "").split("\n\n")[0].split()) if found else ""
        rows.append([f"[`tagway {name}`](docs/cli.md#tagway-{name})", sentence])
    return table(["", ""], rows)


# ---------------------------------------------------------------- lists


def vendors() -> str:
    """The vendors of `ls destinations/`."""
    rows = []
    for name in discover():
        manifest = load_manifest(name)
        version, age = manifest.version, manifest.limits.max_age
        confirms = {"event": "per event", "request": "per request", "none": "never"}[manifest.confirms]
        rows.append(
            [
                f"[`{name}`](docs/destinations.md#{name})",
                manifest.category,
                version.api if version else "",
                str(version.ends) if version and version.ends else "not announced" if version else "",
                duration(age) if age else "no limit",
                confirms,
                ", ".join(f"`{purpose}`" for purpose in manifest.consent.requires),
            ]
        )
    return table(["type", "category", "API", "its end", "oldest event", "confirms", "needs consent for"], rows)


_COMPARED = ("page_view", "add_to_cart", "purchase", "generate_lead")


def deduplication() -> str:
    """What each vendor asks of two copies of an event, so that it counts one."""
    rows = []
    for name in discover():
        manifest = load_manifest(name)
        events = manifest.tree.get("events") or {}
        calls = {event: str((events.get(event) or {}).get("name", "")) for event in _COMPARED}
        plain = [f"`{event}`: `{said}`" for event, said in calls.items() if said and "$" not in said]
        rule = manifest.dedup
        keys = " and ".join(f"`{key}`" for key in rule.keys) or "nothing: it merges none"
        window = duration(rule.window) if rule.window else "" if not rule.keys else "not said"
        rows.append([f"[`{name}`](destinations.md#{name})", keys, window, rule.browser or "", ", ".join(plain)])
    return table(["vendor", "must be equal", "within", "the browser's tag says the id as", "names sent"], rows)


def metrics() -> str:
    """Every metric family."""
    rows = [
        [f"`{name}`", family.kind, ", ".join(f"`{label}`" for label in family.labels), family.text]
        for name, family in FAMILIES.items()
    ]
    return table(["metric", "kind", "labels", ""], rows)


def outcomes() -> str:
    """Every outcome with its reasons, and what each means."""
    rows = []
    for outcome, reasons in REASONS.items():
        if reasons == tuple(FAILURES):
            rows.append([f"`{outcome}`", "a failure, below", SENTENCES[(outcome, reasons[0])].split(":")[0] + "."])
        else:
            rows += [[f"`{outcome}`", f"`{one}`" if one else "", SENTENCES[(outcome, one)]] for one in reasons]
    failures = table(["failure", ""], [[f"`{name}`", words] for name, words in FAILURES.items()])
    return f"{table(['outcome', 'reason', ''], rows)}\n{failures}"


def refusals() -> str:
    """Why a hit is refused at the door."""
    words = {
        "malformed": ("400", "it cannot be read or unpacked, or has no name"),
        "too_large": ("413", "over 512 KiB a body, 64 KiB an event, 2,500 events a hit"),
        "encoding": ("415", "a Content-Encoding that is not known, or more than one"),
        "unknown_key": ("401", "no source has this key, or this Host"),
        "cross_source": ("403", "key and Host belong to two sources"),
        "origin": ("403", "the Origin is not in the source's list"),
        "rate": ("429", "over a rate of the source's `limits`"),
        "full": ("503", "the store takes nothing for now; nothing was kept, send it again"),
        "signature": ("401", "a webhook that is not signed with the shop's secret"),
    }
    return table(["reason", "status", ""], [[f"`{one}`", *words[one]] for one in RefusedReason])


def routes() -> str:
    """The routes that take hits."""
    rows = []
    for row in DIALECTS:
        methods = [method for method in row.methods if method != "HEAD"]
        rows.append([" ".join(methods), f"`{row.path}`", ", ".join(f"`{path}`" for path in row.also)])
    return table(["", "route", "also"], rows)


def recipes() -> str:
    """The pages of docs/recipes: what to change in what one has already."""
    pages = sorted((ROOT / "docs" / "recipes").glob("*.md"))
    links = [f"[{path.read_text().split(chr(10), 1)[0].removeprefix('# ')}](docs/recipes/{path.name})" for path in pages]
    return "".join(f"- {link}\n" for link in links)


def signals() -> str:
    """What may stand in a source's `consent.read`."""
    words = {
        "event": "the event's own `consent` block, or Segment's `context.consent`",
        "tcf": "the IAB's TCF string",
        "gpp": "the IAB's GPP string",
        "gcs": "Google's Consent Mode parameters on GA4 hits",
        "cmp_cookie": "cookies of consent tools",
        "own": "our own cookie `_tw_consent`",
    }
    now = signals_read()
    rows = [[f"`{one}`", words[one], "" if one in now else "not read by this version"] for one in get_args(SignalKind)]
    return table(["word", "signal", ""], rows)


def signals_read() -> set[str]:
    """The kinds of signals that a reader makes, as the code of gateway/consent says."""
    found: set[str] = set()
    for path in sorted((ROOT / "gateway" / "consent").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Signal":
                found |= {str(arg.value) for arg in node.args[1:2] if isinstance(arg, ast.Constant)}
    return found & set(get_args(SignalKind))


# ---------------------------------------------------------------- configuration


def gateway_keys() -> str:
    """Every key of gateway.yaml."""
    return _keys(Gateway)


def source_keys() -> str:
    """Every key of a source."""
    return _keys(Source)


def destination_keys() -> str:
    """Every key of a destination's file."""
    extends = ["`extends`", "text", "", "another file whose keys these are laid over: maps merge, the rest is replaced"]
    return _keys(DestinationConfig, [extends])


def settings() -> str:
    """Every vendor's settings."""
    return "\n".join(f"### {name}\n\n{_settings(load_manifest(name).settings)}" for name in discover())


def _settings(specs: Mapping[str, SettingSpec]) -> str:
    rows = []
    for name, spec in specs.items():
        kind = " or ".join(f"`{one}`" for one in spec.enum) if spec.enum else KINDS[spec.type]
        marks = ", ".join(word for word, on in (("needed", spec.required), ("secret", spec.secret)) if on)
        default = f"`{_yaml(spec.default)}`" if spec.default is not None else marks
        rows.append([f"`{name}`", kind, default, spec.help or ""])
    return table(["setting", "type", "default", ""], rows)


KINDS = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false", "list": "list", "map": "map"}


def fields_of(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """The fields that a file may hold."""
    for name, field in model.model_fields.items():
        if name not in UNWRITTEN:
            yield name, field


def keys_of(model: type[BaseModel], at: str = "", defaults: BaseModel | None = None) -> Iterator[tuple[str, FieldInfo, Any]]:
    """Every key as a dotted path, with its field and its default."""
    for name, field in fields_of(model):
        default = getattr(defaults, name) if defaults else field.get_default(call_default_factory=True)
        yield f"{at}{name}", field, default
        inner = _model(field.annotation)
        if inner is not None:
            yield from keys_of(inner, f"{at}{name}.", default if isinstance(default, inner) else None)


def _keys(model: type[BaseModel], more: list[list[str]] | None = None) -> str:
    rows = [
        [f"`{path}`", _kind(field), _default(path, field, default), field.description or ""]
        for path, field, default in keys_of(model)
    ]
    return table(["key", "type", "default", ""], [*rows, *(more or [])])


def _bare(declared: Any) -> Any:
    if get_origin(declared) in (Union, types.UnionType):
        return next(one for one in get_args(declared) if one is not type(None))
    return get_args(declared)[0] if hasattr(declared, "__metadata__") else declared


def _model(declared: Any) -> type[BaseModel] | None:
    declared = _bare(declared)
    return declared if isinstance(declared, type) and issubclass(declared, BaseModel) else None


def _kind(field: FieldInfo) -> str:
    declared = field.annotation
    forms = json.dumps(field.metadata, default=repr) + repr(declared)
    declared = _bare(declared)
    if "duration" in forms or "age_limit" in forms:
        return "duration"
    if "function size" in forms:
        return "size"
    return _named(declared)


def _named(declared: Any) -> str:
    declared = _bare(declared)
    if get_origin(declared) is Literal:
        return " or ".join(f"`{one}`" for one in get_args(declared))
    if get_origin(declared) is list:
        return f"list of {_plural(get_args(declared)[0])}"
    if get_origin(declared) is dict or _model(declared):
        return "map"
    known = {str: "text", SecretStr: "secret", int: "whole number", float: "number", bool: "true or false"}
    return known.get(declared, "mapping")


def _plural(declared: Any) -> str:
    name = _named(declared)
    return {"text": "texts", "secret": "secrets"}.get(name, name.replace(" or ", ", "))


def _default(path: str, field: FieldInfo, value: Any) -> str:
    if field.is_required():
        return "the only source" if path == "sources" and field.annotation == list[str] else "needed"
    if isinstance(value, BaseModel | SecretStr) or value is None or value in ([], {}, ""):
        return ""
    kind = _kind(field)
    words = {"duration": duration, "size": size}.get(kind, _yaml)(value)
    return f"`{words}`"


def _yaml(value: Any) -> str:
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False).replace('"', "")
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """604800.0 → `7d`."""
    if seconds == math.inf:
        return "off"
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds:g}s"


def size(count: int) -> str:
    """20000000000 → `20GB`."""
    for unit, length in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if count >= length and count % length == 0:
            return f"{count // length}{unit}"
    return f"{count}B"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *([cell.replace("\n", " ") for cell in row] for row in rows)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


# ---------------------------------------------------------------- a real run


GRANTED = dict.fromkeys(("ad_storage", "ad_user_data", "ad_personalization", "analytics_storage"), "granted")
DENIED = dict.fromkeys(GRANTED, "denied")
_ADDRESSES = {"ga4": "endpoint", "meta": "endpoint", "tiktok": "endpoint", "webhook": "url"}


def order(number: int, consent: Mapping[str, str], **props: Any) -> dict[str, Any]:
    """A purchase."""
    return {
        "name": "purchase",
        "id": f"order-{number}",
        "user": {"id": f"u-{number}", "email": f"visitor{number}@example.com"},
        "ids": {"ga_client_id": f"1.{number}", "ga_session_id": "1795500000"},
        "device": {"ip": "203.0.113.7", "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"},
        "page": {"url": "https://shop.example/thanks"},
        "props": {"transaction_id": str(number), "value": 42.5, "currency": "EUR", **props},
        "items": [{"id": "sku-1", "name": "Cup", "price": 42.5, "quantity": 1}],
        "consent": dict(consent),
    }


def audit_of_a_run() -> str:
    """`tagway audit` after a real run: gateway and strict emulators in this process, one vendor down.

    40 orders: 6 visitors said no, 3 orders carry no currency, 2 hits come twice; the webhook's endpoint is down.
    """
    with tempfile.TemporaryDirectory() as folder:
        config = asyncio.run(_orders(Path(folder)))
        return run("audit", "-c", str(config))


def explained() -> str:
    """The end of `tagway explain` for an order without consent, and the chain of one field of an order with it."""
    refused = _explained(order(1001, {**GRANTED, "ad_user_data": "denied"}), "--to", "meta")
    end = refused[refused.index("\nmeta (") + 1 :]
    chain = _explained(
        {**order(1001, GRANTED), "user": {"email": " Jane@Example.com "}}, "--to", "meta", "--field", "user_data.em"
    )
    chain = chain[chain.index("meta  user_data") :]
    return (
        f"```console\n$ tagway explain event.json --to meta\n…\n{end}```\n\nAnd where does this value come from?\n\n"
        f"```console\n$ tagway explain event.json --to meta --field user_data.em\n…\n{chain}```\n"
    )


def _explained(event: Mapping[str, Any], *options: str) -> str:
    """`tagway explain` of an event by the configuration in configs/."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "event.json"
        path.write_text(json.dumps(event))
        return run("explain", str(path), *options)


async def _orders(folder: Path) -> Path:
    lab = await start_lab("127.0.0.1", 0)
    lab.down("webhook", "500")
    config = lab_files(folder, {name: lab.url(name) for name in lab.vendors})
    gateway = Tagway(load(config), drain=0.0)
    await gateway.start()
    try:
        orders = [order(1000 + n, DENIED if n < 6 else GRANTED) for n in range(37)]
        orders += [order(1040 + n, GRANTED, currency=None) for n in range(3)]
        url = f"http://{gateway.addresses['public']}/v1/events?k=wk_shop_demo"
        async with aiohttp.ClientSession() as client:
            for one in (*orders, *orders[-2:]):
                async with client.post(url, json=one) as answer:
                    if answer.status != 200:
                        raise RuntimeError(await answer.text())
        await _until(lambda: _settled(gateway))
    finally:
        await gateway.stop()
        await lab.close()
    return config


def _settled(gateway: Tagway) -> bool:
    """Whether only the vendor that is down keeps anything, and each event of it was tried."""
    depths = {lane: gateway.store.depth(lane) for lane in gateway.store.lanes()}
    down = depths.pop("webhook")
    return all(one.queued == 0 for one in depths.values()) and down.queued == 34


async def _until(good: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not good():
        if asyncio.get_running_loop().time() > deadline:
            raise RuntimeError("the run did not settle")
        await asyncio.sleep(0.02)


def lab_files(folder: Path, urls: Mapping[str, str]) -> Path:
    """configs/lab with ports of this run."""
    (folder / "destinations").mkdir()
    for path in sorted((ROOT / "configs" / "lab" / "destinations").glob("*.yaml")):
        lines = path.read_text().splitlines()
        key = f"{_ADDRESSES[path.stem]}:"
        kept = [
            line[: line.index(key)] + f"{key} {urls[path.stem]}" if line.strip().startswith(key) else line for line in lines
        ]
        (folder / "destinations" / path.name).write_text("\n".join(kept) + "\n")
    config = folder / "gateway.yaml"
    text = (ROOT / "configs" / "lab" / "gateway.yaml").read_text().replace("../../data/lab", "data")
    for port in (8080, 9090, 9464):
        text = text.replace(f"127.0.0.1:{port}\n", "127.0.0.1:0\n")
    config.write_text(text)
    return config
