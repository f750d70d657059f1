"""Tagway: a server-side tagging gateway that accounts for every event.

Data flows one way; a layer imports only what stands left of it (tests/test_layers.py):

    event errors outcomes clock config destination
        < receive normalise enrich consent mapping < queue < deliver observe < lab app cli
"""

__version__ = "0.1.0"
