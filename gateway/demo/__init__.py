"""`tagway demo`: the gateway and the vendors' lab on this machine; nothing leaves it.

The lab (and the shop) live in this process, the gateway in a child of its own, so that it can be killed for real and come
back. The configuration is that of `configs/lab/`, which an installed wheel carries as `gateway/demo/configs/`.
"""

from __future__ import annotations

from pathlib import Path

PACKAGED = Path(__file__).parent / "configs"
CHECKOUT = Path(__file__).parents[2] / "configs" / "lab"


def demo_config() -> Path:
    """The demo's gateway.yaml: the wheel's copy, or the checkout's own."""
    folder = PACKAGED if PACKAGED.is_dir() else CHECKOUT
    return folder / "gateway.yaml"
