"""Strict emulators of vendors' APIs on loopback: what a platform would refuse or drop fails here (design §8)."""

from gateway.lab.inbox import Entry, Seen
from gateway.lab.server import Lab, start_lab
from gateway.lab.vendor import Mode
from gateway.lab.webhook import WEBHOOK_SECRET

__all__ = ["WEBHOOK_SECRET", "Entry", "Lab", "Mode", "Seen", "start_lab"]
