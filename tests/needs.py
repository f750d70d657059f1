"""What a test needs of the machine: where it is missing the test fails in CI and says so elsewhere; it never reports green."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def missing(words: str) -> NoReturn:
    """Fail in CI, skip elsewhere; `words` say what to install or to do."""
    if os.environ.get("CI"):
        pytest.fail(words)
    pytest.skip(words)


def program(name: str, package: str) -> str:
    """The path of a program, from the Debian package that has it."""
    found = shutil.which(name)
    return found or missing(f"{name} is missing: apt-get install --no-install-recommends {package}")
