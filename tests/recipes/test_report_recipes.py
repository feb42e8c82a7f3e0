"""Every experiment that the reports tell of has a recipe, with the number that they give."""

import re

import pytest

from cifarlab.experiments.search.definition import find_search, shipped_searches
from cifarlab.experiments.study.definition import find_study, shipped_studies
from cifarlab.recipes.catalog import find, shipped_recipes
from cifarlab.recipes.text import fingerprint

ALL = shipped_recipes()
NUMBERS = {name: shipped.reported for name, shipped in ALL.items() if shipped.reported}
STUDIES = {name: find_study(name) for name in shipped_studies()}
SEARCHES = {name: find_search(name) for name in shipped_searches()}

# experiment of a report -> its recipes and, where it gives one, its number in per cent
ROWS = {
    "kth2022": {
        "baseline CNN": (["baseline"], 68),
        "+ augmentation": (["augmentation"], None),
        "+ dropout": (["dropout"], None),
        "+ all": (["all"], 84),
        "best CNN": (["best-cnn"], 88.62),
        "batch normalisation, bare or combined": (["norm-batch", "combined-norm-batch"], 65.3),
        "layer normalisation, bare or combined": (["norm-layer", "combined-norm-layer"], 58.8),
        "group normalisation, bare or combined": (["norm-group", "combined-norm-group"], 62.5),
        "instance normalisation, bare or combined": (
            ["norm-instance", "combined-norm-instance"],
            9.6,
        ),
        "ResNet, constant rate": (["resnet-constant"], 89),
        "ResNet + schedule": (["resnet-schedule"], 93.36),
        "deeper ResNet": (["resnet-deeper"], 93.78),
        "the same on CIFAR-100": (["resnet-cifar100"], 71.39),
        "noisy labels": (["noisy-labels"], None),
        "further work": (["test-views", "noisy-labels", "resnet-still-deeper"], None),
        "a still deeper one on CIFAR-100": (["resnet-still-deeper-cifar100"], None),
        "early stopping, model checkpoint": (
            [
                f"{how}-{by}"
                for how in ("early-stopping", "checkpoint")
                for by in ("loss", "accuracy")
            ],
            None,
        ),
        "what bfloat16 changes (ours)": (["norm-batch-bfloat16"], None),
        "why instance normalisation fails (ours)": (["norm-instance-small-start"], None),
        "a deeper one without the schedule": (["resnet-deeper-constant"], None),
        "other optimizers, rates and decays": (
            [f"resnet-{how}" for how in ("adam", "sgd-0.01", "sgd-0.001", "linear", "exponential")],
            None,
        ),
    },
    "kth2024": {
        "baseline": (["baseline"], 73.81),
        "dropout": (["dropout"], 82.12),
        "weight decay, by the text or the abstract": (
            ["weight-decay", "weight-decay-percent"],
            72.95,
        ),
        "AdamW at larger rates": (["adamw-0.003", "adamw-0.01"], None),
        "exchanged: why, and longer": (["exchanged-fast-statistics", "exchanged-longer"], None),
        "dropout only, longer": (["dropout-only-longer"], None),
        "augmentation": (["augmentation"], 82.66),
        "combined": (["combined"], 87.82),
        "combined, zero mean": (["combined-standardised"], 88.25),
        "Adam": (["adam"], 86.99),
        "AdamW": (["adamw"], 41.3),
        "cosine": (["cosine"], 87.86),
        "cosine with restarts": (["cosine-restarts"], 84.50),
        "step decay": (["step-decay"], 64.42),
        "exchanged": (["exchanged"], 59.49),
        "batch norm only": (["batch-norm-only"], 83.94),
        "dropout only": (["dropout-only"], 80.17),
        "wanted": (["warmup"], None),
    },
    "asha2021": {
        "classic CNN, by two readings of its widths": (["classic", "classic-padded"], 64.4),
        "ResNet-34": (["resnet34"], 87.8),
        "ResNet-34 with a schedule": (["resnet34-schedule", "resnet34-cosine"], 92.37),
        "mixup": (["mixup"], None),
        "cutout": (["cutout"], None),
        "deeper ResNets": (["deeper"], None),
        "a classic CNN of varying depth": (["classic-1", "classic-3"], None),
        "normaliser-free": (["normaliser-free"], None),
    },
    "nyu2024": {
        "final ResNet, its schedule by the code or by the text": (["resnet", "step-20"], 92),
        "on the competition's images": (["competition"], 82),
        "schedulers": (["exponential", "cosine", "plateau"], None),
        "a balance between narrow and wide": (
            ["narrower", "wider", "shallower", "deeper", "kernel-7"],
            None,
        ),
        "batch sizes, optimizers, regularisers": (
            ["batch-64", "batch-512", "adam", "label-smoothing"],
            None,
        ),
        "activations": (["elu", "silu"], None),
        "dropout rates": (["dropout-0", "dropout-0.1", "dropout-0.3", "dropout-0.5"], None),
    },
    "fudan": {
        "optimizers x models": (
            [
                f"resnet{depth}{kind}"
                for depth in (10, 16, 24, 48)
                for kind in ("-adagrad", "-adadelta", "-sgd", "")
            ],
            None,
        ),
        "schedules": (["step", "restarts", "plateau"], None),
        "L1": (["l1-1e-3", "l1-1e-4", "l1-1e-5"], None),
        "L2": (["l2-0", "l2-1e-4", "l2-5e-4", "l2-5e-3"], None),
        "activations": (["relu6", "leaky-relu", "elu", "silu", "prelu", "sigmoid"], None),
        "orders": (
            ["norm-after-add", "act-before-add", "act-before-norm", "pre-activation"],
            None,
        ),
        "orders, normalisation behind its convolution": (
            ["act-first", "no-act-after-add", "no-act-within"],
            None,
        ),
        "augmentation": (["vertical-flip", "noise"], None),
        "no mixup, or no augmentation": (["resnet24", "no-augmentation"], 93.71),
        "degradation": (["plain-20", "plain-56", "residual-20", "residual-56"], None),
        "vanishing gradients": (["plain-20-sigmoid"], None),
        "mixup": (["mixup"], 94.43),
    },
}
EXPERIMENTS = [
    (f"{report}/{name}", number)
    for report, rows in ROWS.items()
    for names, number in rows.values()
    for name in names
]


@pytest.mark.parametrize(("name", "number"), EXPERIMENTS)
def test_an_experiment_is_a_recipe(name, number):
    assert name in ALL
    if number is not None:
        assert NUMBERS[name].accuracy == number
        assert f"{number:g} %" in ALL[name].text


def test_no_recipe_of_a_report_is_without_an_experiment():
    names = {name for name, _ in EXPERIMENTS}
    assert {name for name in ALL if name.partition("/")[0] in ROWS} == names


def test_every_number_belongs_to_a_row():
    names = {name for name, number in EXPERIMENTS if number is not None}
    assert set(NUMBERS) == names


@pytest.mark.parametrize("name", NUMBERS)
def test_the_text_says_the_number(name):
    match = re.search(r"Reported: ([\d.]+) % (?:validation )?on (.+?) \((?!fine)", ALL[name].text)
    assert (float(match[1]), match[2]) == (NUMBERS[name].accuracy, NUMBERS[name].data)


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("asha2021/classic", "best of 30 trials, 67.1 % on validation images"),
        ("fudan/resnet24", "without mixup, one run"),
        ("kth2024/baseline", "one run"),
        ("kth2022/norm-batch", "in average, read off the published plots"),
        (
            "kth2022/combined-norm-layer",
            "in average, read off the published plots, of either network",
        ),
        ("kth2022/resnet-constant", "about, one run"),
    ],
)
def test_the_number_s_note_is_beside_it(name, note):
    assert f"on {NUMBERS[name].data} ({note}).\nCommand" in ALL[name].text


@pytest.mark.parametrize("report", ROWS)
def test_recipes_of_a_report_differ(report):
    recipes = {name: find(name) for name in ALL if name.startswith(f"{report}/")}
    assert len({fingerprint(recipe) for recipe in recipes.values()}) == len(recipes)


# rows on other images, or with other images held out, stand in tables of their own
STUDY_OF = {
    "kth2022": (
        "kth2022",
        "kth2022-selection",
        "kth2022-cifar100",
        "normalization",
        "combined-normalization",
    ),
    "kth2024": ("kth2024",),
    "asha2021": ("asha2021",),
    "nyu2024": ("nyu2024", "nyu2024-competition"),
    "fudan": ("fudan", "degradation"),
}


@pytest.mark.parametrize("report", ROWS)
def test_a_report_s_study_has_its_recipes(report):
    rows = [row for study in STUDY_OF[report] for row in STUDIES[study].rows]
    assert {row.recipe for row in rows} == {name for name in ALL if name.startswith(f"{report}/")}
    for row in rows:
        if row.recipe.startswith(report) and not row.overrides:
            assert row.reported == NUMBERS.get(row.recipe)


QUESTIONS = (
    "normalization optimizers schedules activations block-orders augmentation regularization "
    "label-noise dropout-order kth2024-failures kth2022-held-out kth2022-noisy-labels "
    "kth2024-held-out nyu2024-dropout fudan-optimizers fudan-schedules fudan-penalties "
    "fudan-activations"
)


def test_the_questions_across_reports_are_studies():
    of_reports = {name for names in STUDY_OF.values() for name in names}
    assert set(STUDIES) == {*of_reports, *QUESTIONS.split(), "speed-94", "quickstart"}


@pytest.mark.parametrize("name", STUDIES)
def test_the_rows_of_a_study_are_recipes_that_differ(name):
    recipes = STUDIES[name].recipes()
    assert len({fingerprint(recipe) for recipe in recipes.values()}) == len(recipes)


@pytest.mark.parametrize(
    "experiment", [*STUDIES.values(), *SEARCHES.values()], ids=lambda e: e.name
)
def test_no_number_stands_where_other_data_may_be_looked_at(experiment):
    """What it asks stands over its table, whatever its --data."""
    assert "%" not in experiment.about
