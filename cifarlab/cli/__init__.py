"""The command line: parse, call, print. Everything slow is imported where it is used."""

from cifarlab.cli.app import app, main

# Each registers its commands, in the order in which the help lists them.
# isort: off
from cifarlab.cli import runs, run_folders, evaluation, export, experiments, combine  # noqa: F401
from cifarlab.cli import judge, dashboard, recipes  # noqa: F401
# isort: on

__all__ = ["app", "main"]
