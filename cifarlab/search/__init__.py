"""Searches: a space over a recipe, trained by Ray Tune, stopped early by ASHA, and explained.

Read in this order: ``space`` and ``definition`` (what a search is), ``engine`` (how it is run),
``draws`` and ``judge`` (Optuna and ASHA, asked), ``course`` and ``worker`` (a trial), ``ledger``
and ``folder`` (what is written down), ``explain`` and ``finalists`` (what follows), ``table`` and
``figures`` (how it is shown). ``draws``, ``judge``, ``stopper`` and ``worker`` need the extra
``search``; nothing else imports Ray or Optuna before it is used.
"""

from cifarlab.search.definition import Search, asked_for, from_file, wall_time
from cifarlab.search.engine import Searched, run_search
from cifarlab.search.shipped import SEARCHES, find_search

__all__ = [
    "SEARCHES",
    "Search",
    "Searched",
    "asked_for",
    "find_search",
    "from_file",
    "run_search",
    "wall_time",
]
