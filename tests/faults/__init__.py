"""Faults for real: processes killed, vendors that misbehave, and an oracle that knows what must be there in the end."""
