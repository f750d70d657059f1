"""`python -m gateway.demo.attached serve …`: a `tagway` command that ends when whoever started it is gone.

Its standard input is a pipe from the demo. However the demo ends, kill -9 included, the pipe closes, and no gateway is left
behind on its ports.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from gateway.cli import main


def end_with_parent() -> None:
    """Wait for the end of standard input in a thread, then stop this process as SIGTERM does."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent-watch", daemon=True).start()


if __name__ == "__main__":
    end_with_parent()
    sys.exit(main())
