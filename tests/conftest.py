"""Fixtures that several test files share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.clock import Clock
from gateway.lab import start_lab
from gateway.lab.server import Lab
from tests.vendor import Vendor


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    """A fake upstream that fails the test on a request nobody expected."""
    fake = await Vendor().start()
    yield fake
    await fake.stop()
    fake.check()


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    """The vendors' emulators on a port of their own."""
    running = await start_lab("127.0.0.1", 0, Clock())
    yield running
    await running.close()
