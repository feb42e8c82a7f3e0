"""docs/reports.md is what benchmarks/reproduce.py writes from the results that are published."""

import json
from pathlib import Path

import numpy as np
import pytest

from cifarlab.models.build import count_parameters
from cifarlab.recipes.catalog import find, shipped_recipes
from cifarlab.system.files import read_arrays

ROOT = Path(__file__).parents[2]
PUBLISHED = sorted((ROOT / "docs" / "reports").rglob("result.json"))
FILES = {"format.json", "metrics.jsonl", "result.json", "recipe.yaml", "provenance.json"}
FILES |= {"test.safetensors", "cost.json"}


@pytest.fixture(scope="module")
def rows(modules):
    return modules.reports.read_rows()


def test_the_page_is_what_the_results_give(modules, rows):
    text = (ROOT / "docs" / "reports.md").read_text(encoding="utf-8")
    assert text == modules.reports.page(rows)


def test_every_row_of_the_five_reports_stands_once_in_the_tables(modules, rows):
    text = (ROOT / "docs" / "reports.md").read_text(encoding="utf-8")
    assert list(rows) == modules.published.recipe_names()
    table = text.partition("## Searches")[0]
    assert all(table.count(f"\n| `{name}` |") == 1 for name in rows)
    assert all(row.base in rows for row in rows.values())


def test_results_that_are_published_are_sound_and_hold_no_weights():
    assert PUBLISHED
    for result in PUBLISHED:
        assert {file.name for file in result.parent.iterdir()} == FILES
        arrays = read_arrays(result.with_name("test.safetensors"))[0]
        assert set(arrays) == {"logits"}
        assert arrays["logits"].dtype == np.float16
        assert arrays["logits"].shape[0] == 10_000
        assert json.loads(result.with_name("cost.json").read_text())["hours"] > 0


def test_numbers_on_validation_images_are_of_rows_that_hold_some_out(modules):
    for name in modules.published.recipe_names():
        reported = shipped_recipes()[name].reported
        if reported and reported.split == "val":
            assert modules.published.find(name).data.val_fraction > 0


@pytest.fixture
def row(modules, docs, made_run):
    """A function: publish runs by recipe, {seed: accuracies}, and return a row and its cells."""

    def make(name, **runs):
        published = modules.published
        for recipe, accuracies in runs.items():
            recipe = f"{name.partition('/')[0]}/{recipe.replace('_', '-')}"
            for seed, values in enumerate(accuracies):
                folder = made_run(docs.parent / "made" / recipe / str(seed), recipe, seed, **values)
                published.publish_run(folder, published.run_target(recipe, seed), 36.0)
        row_read = published.read_rows()[name]
        cells = modules.reports.trained_cells(row_read)
        assert len(cells) == len(modules.reports._TRAINED)
        return row_read, cells

    return make


def test_a_row_has_verdicts_on_its_number_and_on_its_difference(row):
    base = [{"test": 0.60}, {"test": 0.62}, {"test": 0.64}]
    ours = [{"test": 0.63}, {"test": 0.64}, {"test": 0.68}]
    _, cells = row("kth2022/norm-group", norm_batch=base, norm_group=ours)
    published = "62.5 (in average, read off the published plots)"
    assert cells[1:4] == [published, "65.00 ± 2.65", "3"]
    assert cells[5] == "agrees: 62.50 is in 51.86 to 78.14"
    assert cells[6:9] == ["`norm-batch`", "-2.80", "+3.00 ± 1.00"]
    assert cells[9] == "differs: -2.80 is outside -1.97 to +7.97"
    assert cells[10] == "float32" and cells[11].startswith("0.00 on ")


def test_a_number_on_validation_images_is_beside_ours_on_validation_images(row, modules):
    row_read, cells = row("nyu2024/resnet", resnet=[{"test": 0.5, "val": 0.91}])
    assert cells[1:3] == ["92 (validation)", "91.00"]
    (panel,) = modules.reports.picture({row_read.recipe: row_read}).panels
    assert panel.marks[1].x == (91.0,)
    assert panel.y.names == ["resnet (validation)"]


def test_a_number_on_other_data_is_not_judged_and_not_drawn(row, modules):
    row_read, cells = row("nyu2024/competition", competition=[{"test": 0.9}, {"test": 0.92}])
    assert cells[1] == "82 (on a competition's unlabelled images)"
    assert cells[5:10] == ["–"] * 5
    (panel,) = modules.reports.picture({row_read.recipe: row_read}).panels
    assert np.isnan(panel.marks[0].x).all()


def test_the_best_of_many_is_named_so(row):
    _, cells = row("asha2021/classic")
    assert cells[1] == "64.4 (best of 30 trials, 67.1 % on validation images)"
    assert cells[2:6] == ["–"] * 4


def test_a_row_that_is_not_trained_has_the_hours_of_its_twin(modules, docs):
    rows = {row.recipe: row for row in modules.published.read_rows().values()}
    names = ("kth2022/baseline", "kth2024/baseline", "kth2024/cosine", "nyu2024/step-20")
    costs = {"A": {"kth2022/baseline": 1.8}}
    lines = modules.reports._untrained([rows[name] for name in names], costs).splitlines()[2:]
    assert [line.split(" | ")[2:5] for line in lines] == [
        ["–", "–", "1.8"],
        ["–", "–", "1.8"],
        ["`combined`", "+0.04", "–"],
        ["`resnet`", "–", "–"],  # another reading of the same number is no difference
    ]


def test_verdicts_in_the_text_follow_the_results(row, modules):
    batch = [{"test": 0.60}, {"test": 0.62}, {"test": 0.64}]
    group = [{"test": 0.80}, {"test": 0.815}, {"test": 0.84}]
    row("kth2022/norm-group", norm_batch=batch, norm_group=group, norm_layer=[{"test": 0.5}])
    rows, (b, g) = modules.published.read_rows(), ("kth2022/norm-batch", "kth2022/norm-group")

    def fill(text):
        return modules.reports.fill(text, rows)

    assert fill(f"{{{b}}}") == "62.00 ± 2.00 (n = 3)"
    assert fill(f"{{{b} plausible}}") == "a plausible single run of ours"
    assert fill(f"{{{g} plausible}}") == "no plausible single run of ours"
    assert fill(f"{{{g} > {b}}}") == "holds (+19.83, n = 3)"
    assert fill(f"{{{b} > {g}}}") == "does not hold (-19.83, n = 3)"
    assert fill("{kth2022/norm-layer plausible}") == "not to be judged yet"
    assert fill(f"{{{b} > kth2022/norm-layer}}") == "can't be said yet"
    assert fill("{fudan/mixup}") == "(not trained yet)"
    for wrong in ("{fudan/mixup is good}", "{fudan/mixed-up}"):
        with pytest.raises((ValueError, KeyError)):
            fill(wrong)


def test_comparisons_of_a_paragraph_are_corrected_together(row, modules):
    """p of the first is 0.034; corrected for two it is 0.068."""
    batch = [{"test": 0.600}, {"test": 0.620}, {"test": 0.640}]
    group = [{"test": 0.610}, {"test": 0.635}, {"test": 0.648}]
    layer = [{"test": 0.640}, {"test": 0.610}, {"test": 0.630}]
    row("kth2022/norm-group", norm_batch=batch, norm_group=group, norm_layer=layer)
    rows = modules.published.read_rows()
    alone = "{kth2022/norm-batch > kth2022/norm-group}"
    assert modules.reports.fill(alone, rows) == "does not hold (-1.10, n = 3)"
    other = "{kth2022/norm-layer > kth2022/norm-batch}"
    assert modules.reports.fill(f"{alone}; {other}", rows) == (
        "not seen (-1.10, n = 3); may be chance (+0.67, n = 3)"
    )
    apart = modules.reports.fill(f"{alone}\n\n{other}", rows)
    assert apart.startswith("does not hold (-1.10, n = 3)")


def test_what_the_text_says_of_runs_that_do_not_train(modules, rows):
    """Two of three with layer normalisation stay at chance, the third reaches 47 %."""
    logs = [run.lines for run in rows["kth2022/combined-norm-layer"].runs]
    losses = [[line["train"]["loss"] for line in log[1:]] for log in logs]
    at_chance = [np.allclose(values, np.log(10), atol=2e-3) for values in losses]
    assert sorted(at_chance) == [False, True, True]
    of_chance = [log for log, is_at_chance in zip(logs, at_chance, strict=True) if is_at_chance]
    accuracies = [100 * line["train"]["accuracy"] for log in of_chance for line in log]
    assert (round(min(accuracies), 1), round(max(accuracies), 1)) == (9.5, 9.9)
    values = rows["kth2022/combined-norm-layer"].compared.values
    assert max(values.values()) == pytest.approx(0.47, abs=0.005)
    trained = losses[at_chance.index(False)]
    assert trained[2] > 2.25 > trained[3]  # epochs 4 and 5


def test_what_the_text_says_of_the_search(modules):
    content = json.loads(
        (modules.reports.search_target("asha2021/classic") / "search.json").read_text()
    )
    best = content["results"]["table"][0]
    assert best["optimizer.kind"] == "adam" and best["model.linear_init"] == "xavier_uniform"
    assert (best["model.dropout"], best["model.block"], best["augment"]) == ("0.1", "plain", "off")
    folder = modules.reports.search_target("asha2021/classic") / "best" / "result.json"
    accuracy = json.loads(folder.read_text())["test"]["accuracy"]
    text = (ROOT / "docs" / "reports" / "findings.md").read_text(encoding="utf-8")
    assert f"{100 * best['score']:.2f} % ({100 * accuracy:.2f} % on test images)" in text


def test_what_the_text_says_of_kth2024_s_rows(rows):
    (run,) = rows["kth2024/baseline"].runs
    assert run.lines[-1]["train"]["accuracy"] == 1.0
    assert rows["kth2022/baseline"].runs == rows["kth2024/baseline"].runs
    decayed = rows["kth2024/weight-decay"]
    assert decayed.expected == pytest.approx(-0.86)
    assert 100 * decayed.compared.pairs.difference.mean == pytest.approx(0.89)
    assert round(50_000 * (1 - decayed.runs[0].lines[-1]["train"]["accuracy"])) == 1
    losses = [of_row.result["test"]["loss"] for of_row in (run, decayed.runs[0])]
    assert [round(value, 2) for value in losses] == [2.85, 1.22]
    exchanged = rows["kth2024/exchanged"]
    assert exchanged.expected == pytest.approx(-14.32)
    assert 100 * exchanged.compared.pairs.difference.mean == pytest.approx(-5.37)


def test_what_the_text_says_of_the_classic_network_s_sizes():
    text = (ROOT / "docs" / "reports" / "findings.md").read_text(encoding="utf-8")
    names = ("classic-1", "classic", "classic-padded", "classic-3")
    sizes = [count_parameters(find(f"asha2021/{name}").model) for name in names]
    assert "{:,}, {:,}, {:,} and {:,} parameters".format(*sizes) in text
