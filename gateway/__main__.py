"""`python -m gateway` is the `tagway` command."""

from gateway.cli import main

main()
