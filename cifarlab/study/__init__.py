"""Studies: recipes x seeds, compared with a baseline, with what may and may not be concluded.

Read in this order: ``definition`` (what a study is), ``engine`` and ``workers`` (how it is run),
``outcomes`` (what its runs say), ``statistics``, ``comparison`` and ``agreement`` (what follows),
``table`` and ``figure`` (how it is shown).
"""

from cifarlab.study.comparison import Comparison, Line, Outcome, compare
from cifarlab.study.definition import Reported, Row, Study
from cifarlab.study.engine import Studied, run_study
from cifarlab.study.outcomes import compare_runs
from cifarlab.study.shipped import STUDIES, find_study

__all__ = [
    "STUDIES",
    "Comparison",
    "Line",
    "Outcome",
    "Reported",
    "Row",
    "Studied",
    "Study",
    "compare",
    "compare_runs",
    "find_study",
    "run_study",
]
