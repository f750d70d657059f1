"""Every golden request passes the emulator of its vendor, which applies the vendor's documented rules strictly."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.clock import FrozenClock
from gateway.deliver.transport import AiohttpTransport
from gateway.destination import Batch, Verdict
from gateway.lab import start_lab
from tests import destination_kit as kit

UNDOCUMENTED = {"content type by category"}
"""Meta's catalogues know further content types (vehicle, hotel …) than its Conversions API documents."""


@pytest.mark.parametrize("vendor", ["meta", "ga4", "tiktok"])
async def test_golden_requests_pass_the_emulator(vendor: str) -> None:
    lab = await start_lab("127.0.0.1", 0, clock=FrozenClock(kit.NOW))
    refused: list[tuple[str, str]] = []
    sent = 0
    try:
        for case in kit.golden(vendor):
            if "request" not in case or case["name"] in UNDOCUMENTED:
                continue
            file: dict[str, Any] = {**case.get("file", {}), "endpoint": lab.url(vendor), "allow_http": True}
            one = kit.ready(vendor, case.get("settings"), file)
            made = kit.parts(one, case["event"])
            batch = Batch(made[0].envelope, tuple(made))
            transport = AiohttpTransport(one.config)
            reply = await transport.send(one.destination.request(batch, kit.NOW))
            await transport.close()
            sent += 1
            entry = lab.inbox(vendor)[-1]
            verdicts = one.destination.verdicts(reply, batch)
            if not entry.accepted or any(verdict.verdict is not Verdict.DELIVERED for verdict in verdicts):
                refused.append((case["name"], entry.reason))
    finally:
        await lab.close()
    assert sent > 10
    assert not refused
