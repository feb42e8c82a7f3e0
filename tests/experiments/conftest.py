"""A folder of runs that stand on each other, to delete from."""

from pathlib import Path

import pytest
from made_removals import add_parts
from made_run import Plan, digits, make

from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.experiments.study.folder import StudyFolder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A run, one in training, a study that also uses the run, a search."""
    root = tmp_path / "runs"
    add_parts(make(root / "plain", Plan(n=200)))
    make(root / "young", digits(finished=False))
    study = StudyFolder(root / "studies" / "made")
    make(study.path / "base-s0", Plan(n=200, seed=1))
    runs = [
        {"row": "base", "seed": 0, "run": "base-s0"},
        {"row": "other", "seed": 0, "run": "../../used"},
        {"row": "other", "seed": 1, "run": None},
    ]
    make(root / "used", Plan(n=200, changes=(("optimizer.lr", 0.7),)))
    study.write({"study": {"name": "made"}, "runs": runs})
    search = SearchFolder(root / "searches" / "wide")
    make(search.path / "trial-000", digits(n=100, test=False))
    search.write({"search": {"name": "wide"}})
    return root
