"""The diagnosis of curves: each finding where it belongs, and nothing about healthy ones."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from cifarlab.recipes.text import build
from cifarlab.report.diagnosis import diagnose
from cifarlab.run_folder.run_data import RunData

CLASSES = [str(k) for k in range(10)]
EPOCHS = 20
GUESSING = math.log(10)


def falling(start, end, epochs=EPOCHS):
    """From start towards end, quickly at first."""
    return [end + (start - end) * 0.7**n for n in range(epochs)]


def cosine(epochs=EPOCHS):
    return [0.05 * (1 + math.cos(math.pi * n / epochs)) for n in range(epochs)]


def run(*, loss=None, accuracy=None, val_loss=None, val_accuracy=None, lr=None, **settings):
    """A finished run with these curves; what is not given is healthy."""
    curves = {
        ("train", "loss"): loss or falling(2.0, 0.3),
        ("train", "accuracy"): accuracy or falling(0.3, 0.92),
        ("val", "loss"): val_loss or falling(2.0, 0.4),
        ("val", "accuracy"): val_accuracy or falling(0.3, 0.88),
    }
    lines = []
    for n, value in enumerate(lr or cosine()):
        line = {"epoch": n + 1, "step": 10 * (n + 1), "lr": value, "train": {}, "val": {}}
        for (part, name), curve in curves.items():
            line[part][name] = curve[n]
        lines.append(line)
    recipe = build({"schedule": {"kind": settings.pop("schedule", "cosine")}})
    result = {"dead_units": {"images": 250, "layers": settings.pop("layers", {"act": [0, 64]})}}
    provenance = {"data": {"classes": CLASSES}}
    return RunData(
        path=Path("run"),
        slug="run",
        recipe=recipe,
        provenance=provenance,
        result=result,
        is_finished=settings.pop("finished", True),
        lines=lines,
    )


def finding_titles(report_run):
    return [finding.what.partition(":")[0] for finding in diagnose(report_run)]


def test_a_healthy_run_has_no_finding():
    assert finding_titles(run()) == []


def test_without_a_metrics_log_there_is_nothing_to_say():
    report_run = run()
    assert diagnose(replace(report_run, result={}, lines=[])) == []


@pytest.mark.parametrize("end", [4.0, 2.29])
def test_diverged(end):
    loss = [*falling(2.0, 0.8, 12), *[end] * 8]
    assert finding_titles(run(loss=loss)) == ["it diverged"]


def test_never_left_the_plateau():
    flat = [GUESSING - 0.01] * EPOCHS
    tenth = [0.1] * EPOCHS
    report_run = run(loss=flat, val_loss=flat, accuracy=tenth, val_accuracy=tenth)
    assert finding_titles(report_run) == ["it never left the plateau"]


def test_a_plateau_is_no_overfit():
    flat, worse = [GUESSING - 0.001 * n for n in range(EPOCHS)], [2.5] * 10 + [3.0] * 10
    tenth = [0.1] * EPOCHS
    report_run = run(loss=flat, val_loss=worse, accuracy=tenth, val_accuracy=tenth)
    assert finding_titles(report_run) == ["it never left the plateau"]


def test_a_high_training_loss_under_dropout_is_no_plateau():
    assert finding_titles(run(loss=[GUESSING] * EPOCHS, accuracy=[0.2] * EPOCHS)) == []


def test_the_lr_fell_within_the_first_epoch():
    accuracy = [0.19, 0.2, *[0.25] * 18]
    [finding] = diagnose(run(lr=[1e-4] * EPOCHS, accuracy=accuracy, schedule="multistep"))
    assert finding.what.startswith(
        "the learning rate fell before it had learned: from epoch 1 of 20"
    )


def test_the_lr_fell_before_it_learned():
    lr = [0.1, 0.001, 0.001] + [1e-4] * 17
    accuracy = [0.3, 0.5, 0.55] + [0.6] * 17
    [finding] = diagnose(run(lr=lr, accuracy=accuracy, schedule="multistep"))
    assert finding.what.startswith(
        "the learning rate fell before it had learned: from epoch 2 of 20"
    )
    assert "10.0 points only" in finding.reason


@pytest.mark.parametrize(
    ("lr", "accuracy"),
    [
        ([0.1, 0.001] + [1e-4] * 18, [0.3, 0.95] + [0.96] * 18),  # it had learned by then
        ([0.1, 0.001] + [1e-4] * 18, [0.3, 0.5] + [0.9] * 18),  # and learned on
        ([0.1] * 15 + [1e-4] * 5, [0.5] * 20),  # late in the run
    ],
)
def test_a_low_lr_alone_is_no_finding(lr, accuracy):
    assert finding_titles(run(lr=lr, accuracy=accuracy, schedule="multistep")) == []


@pytest.mark.parametrize(
    ("last", "expected"),
    [(0.12, ["validation is at guessing, 12.00\xa0%, while"]), (0.3, ["it overf"])],
)
def test_validation_at_guessing_while_training_learned(last, expected):
    val_loss = [*falling(2.0, 1.7, 15), *[2.95] * 5]
    val = [*falling(0.2, 0.4, 15), *[last] * 5]
    report_run = run(val_loss=val_loss, val_accuracy=val, accuracy=falling(0.2, 0.52))
    assert [
        finding[: len(start)]
        for finding, start in zip(finding_titles(report_run), expected, strict=True)
    ] == expected


def test_overfit_names_the_best_epoch():
    val_loss = [*falling(2.0, 0.6, 8), *[0.7 + 0.05 * n for n in range(12)]]
    [finding] = diagnose(run(val_loss=val_loss))
    assert finding.what.startswith("it overfits from epoch 9 on")


def test_one_lucky_epoch_is_no_overfit():
    val_loss = [*falling(2.0, 0.15, 16), 0.09, 0.107, 0.094, 0.1]  # seen on 144 digits
    assert diagnose(run(val_loss=val_loss)) == []


def test_validation_loss_that_rises_with_training_loss_is_no_overfit():
    curve = [*falling(2.0, 0.6, 8), *[0.7 + 0.05 * n for n in range(12)]]
    assert finding_titles(run(val_loss=curve, loss=curve)) == []


def test_still_learning_at_a_constant_lr():
    rising = [0.3 + 0.02 * n for n in range(EPOCHS)]
    expected = finding_titles(run(val_accuracy=rising, lr=[0.1] * EPOCHS, schedule="constant"))
    assert expected == ["it was still learning"]
    assert finding_titles(run(val_accuracy=rising)) == []


@pytest.mark.parametrize(("dead", "expected"), [(0, []), (12, []), (13, ["dead activations"])])
def test_dead_activations(dead, expected):
    assert finding_titles(run(layers={"a": [0, 10], "stage1.act": [dead, 64]})) == expected


@pytest.mark.parametrize("odd", [None, 3, "x", [], [1, 0], ["a", 2], [1, 2, 3], {"a": 1}])
def test_odd_counts_of_dead_units_cost_nothing(odd):
    assert finding_titles(run(layers={"a": odd})) == []
    assert finding_titles(run(layers={"a": odd, "b": [9, 10]})) == ["dead activations"]
    assert finding_titles(run(layers=odd)) == []


def test_odd_values_cost_nothing():
    report_run = run()
    for line in report_run.lines[3:5]:
        line["val"] = None
        line["train"] = {"loss": None, "accuracy": "x"}
    assert isinstance(diagnose(report_run), list)
