"""Cases of peers' own test suites, run through the real front door. See runner.py."""
