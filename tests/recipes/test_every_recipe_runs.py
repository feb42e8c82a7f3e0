"""Every shipped recipe and every row of a study trains, evaluates and leaves a result."""

import pytest
from short_recipes import shorten

from cifarlab.experiments.study.definition import find_study, shipped_studies
from cifarlab.experiments.study.engine import run_study
from cifarlab.recipes.catalog import find, shipped_recipes
from cifarlab.recipes.text import change
from cifarlab.run_folder.folder import RunFolder
from cifarlab.training.train import train

STUDIES = {name: find_study(name) for name in shipped_studies()}
OF_REPORTS = {row.recipe for study in STUDIES.values() for row in study.rows if not row.overrides}


def small(study):
    """The study with each row's recipe shortened."""
    recipes = study.recipes()
    rows = tuple(
        row.model_copy(update={"overrides": {**row.overrides, **shorten(recipes[row.name])}})
        for row in study.rows
    )
    return study.model_copy(update={"rows": rows, "n_seeds": 1})


@pytest.mark.parametrize("name", sorted(set(shipped_recipes()) - OF_REPORTS))
def test_a_recipe_that_no_study_has_as_it_is(tmp_path, name):
    recipe = find(name)
    result = train(change(recipe, shorten(recipe)), RunFolder(tmp_path))
    assert (result["epochs"], result["stop_reason"]) == (2, "planned")
    assert result["test"]["n"] == 359


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_over_all_its_rows(tmp_path, name):
    finished_study = run_study(small(STUDIES[name]), runs=tmp_path)
    lines = finished_study.comparison.rows
    assert [line.name for line in lines] == [row.name for row in STUDIES[name].rows]
    assert [line.name for line in lines if not line.values] == []
    for file in ("study.json", "table.md", "table.csv", "figure.svg"):
        assert (finished_study.folder.path / file).stat().st_size > 100
