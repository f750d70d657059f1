"""Who sent a shop's webhook: the signature over the raw body, by the secret that shop and gateway share.

    Shopify       X-Shopify-Hmac-Sha256     base64 of HMAC-SHA256(secret, body)
    WooCommerce   X-WC-Webhook-Signature    the same
    Stripe        Stripe-Signature          t=<epoch seconds>,v1=<hex>…: HMAC-SHA256(secret, "<t>.<body>"), t within 5 minutes

Every secret of the source is tried (two stand there while one takes the place of the other), and each comparison takes the
same time whatever it finds. A check raises Refused 401 and says nothing of what it expected. WooCommerce signs no ping: its
body, `webhook_id=<number>`, is let through, and is never an event.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping, Sequence

from gateway.errors import Refused, RefusedReason

STRIPE_TOLERANCE = 300.0
"""Seconds that a Stripe signature may be old, or its clock ahead."""
_MAX_SIGNATURES = 16
PING = re.compile(rb"webhook_id=[0-9]{1,20}")
"""What WooCommerce sends, unsigned, when a webhook is saved."""

Check = Callable[[bytes, Mapping[str, str], Sequence[bytes], float], None]
"""(raw body, headers in lower case, secrets, wall time) → nothing; raises Refused 401."""


def shopify(body: bytes, headers: Mapping[str, str], secrets: Sequence[bytes], now: float) -> None:
    """See the module."""
    _compare([_base64(headers.get("x-shopify-hmac-sha256", ""))], secrets, body)


def woocommerce(body: bytes, headers: Mapping[str, str], secrets: Sequence[bytes], now: float) -> None:
    """See the module."""
    given = headers.get("x-wc-webhook-signature", "")
    if not given and PING.fullmatch(body.strip()):
        return
    _compare([_base64(given)], secrets, body)


def stripe(body: bytes, headers: Mapping[str, str], secrets: Sequence[bytes], now: float) -> None:
    """See the module. Of several `t` the last counts; every `v1` may match, other schemes are not read."""
    pairs = [part.strip().partition("=") for part in headers.get("stripe-signature", "").split(",")]
    times = [value for name, _, value in pairs if name == "t"]
    given = [_hex(value) for name, _, value in pairs if name == "v1"][:_MAX_SIGNATURES]
    time = times[-1] if times else ""
    if not (time.isascii() and time.isdecimal() and len(time) <= 15):
        raise _unsigned()
    _compare(given, secrets, time.encode() + b"." + body)
    if abs(now - int(time)) > STRIPE_TOLERANCE:
        raise Refused("the signature is older than five minutes", reason=RefusedReason.SIGNATURE, status=401)


def _compare(given: Iterable[bytes], secrets: Sequence[bytes], signed: bytes) -> None:
    """Every secret with every signature, without a shortcut."""
    good = False
    for secret in secrets:
        expected = hmac.digest(secret, signed, hashlib.sha256)
        for one in given:
            good |= hmac.compare_digest(expected, one)
    if not good:
        raise _unsigned()


def _unsigned() -> Refused:
    return Refused("the signature is missing or not one of the source", reason=RefusedReason.SIGNATURE, status=401)


def _base64(text: str) -> bytes:
    try:
        return b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text.strip())
    except ValueError:
        return b""
