"""The files that the demo's gateway reads: a copy of `configs/lab/` with the demo's ports, store and shop in it.

A copy, because ports may differ from the usual ones and because it may be edited: the gateway reads a changed file at once.
An installed wheel carries the originals as `gateway/demo/configs/`.
"""

from __future__ import annotations

import json
from pathlib import Path

from gateway.demo.ports import HOST, USUAL, Ports

PACKAGED = Path(__file__).parent / "configs"
CHECKOUT = Path(__file__).parents[2] / "configs" / "lab"
STORE = "../../data/lab"
"""The store as the originals name it."""
WRITE_KEY = "wk_shop_demo"
_NOTE = "# A copy of configs/lab, written by `tagway demo` at each start. Edit it: the gateway reads a changed file at once.\n"


def originals() -> Path:
    """The folder of the originals: the wheel's copy, or the checkout's own."""
    return PACKAGED if PACKAGED.is_dir() else CHECKOUT


def write_config(folder: Path, ports: Ports) -> Path:
    """Write the files to `folder/demo-config` with the store in `folder/store`; the path of the gateway.yaml."""
    target = folder / "demo-config"
    for path in sorted(originals().rglob("*.yaml")):
        copy = target / path.relative_to(originals())
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(_NOTE + _adapted(path.read_text(), folder / "store", ports))
    return target / "gateway.yaml"


def _adapted(text: str, store: Path, ports: Ports) -> str:
    text = text.replace(f"path: {STORE}\n", f"path: {json.dumps(str(store.resolve()))}\n")
    names = ("shop", "gateway", "admin", "metrics", "lab")
    # By way of placeholders: a new port may be the usual one of another listener.
    for name in names:
        for host in (HOST, "localhost"):
            text = text.replace(f"{host}:{getattr(USUAL, name)}", f"{host}:<{name}>")
    for name in names:
        text = text.replace(f":<{name}>", f":{getattr(ports, name)}")
    return text
