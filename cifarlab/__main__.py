"""``python -m cifarlab`` is the command ``cifarlab``."""

from cifarlab.cli import main

main()
