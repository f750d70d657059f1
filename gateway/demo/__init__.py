"""`tagway demo`: a shop, the gateway and the vendors' lab on this machine; nothing leaves it.

    shop (browser) ──events──► gateway (a process of its own) ──requests──► lab (four vendors)
         ▲                        │ admin listener                            │ inboxes
         └──────── board: what each vendor got, or why not ◄───────────────────┘

The lab and the shop live in the demo's process, the gateway in a child (`child.py`), so that it can be killed for real and
come back. `ports.py` finds free ports, `configuration.py` writes the files that the child reads, `board.py` gathers what the
page shows, `shop.py` serves it, `running.py` starts and stops all of it.
"""
