"""`python -m recscale`, as torchrun needs it."""

from recscale.cli import main

main()
