"""What the page of one finished run says, and that it says it safely and by itself."""

import base64
import io
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import yaml
from made_run import Plan, make
from page_parser import read
from PIL import Image

from cifarlab.recipes.schema import Recipe
from cifarlab.report.write import write_report
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.predictions import Predictions


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = make(tmp_path_factory.mktemp("runs") / "plain")
    assert write_report([path]) == path / "report" / "report.html"
    return path


@pytest.fixture(scope="module")
def page(run):
    return read(run / "report" / "report.html")


@pytest.fixture(scope="module")
def result(run):
    return json.loads((run / "result.json").read_text())


@pytest.mark.parametrize("split, spoken", [("test", "Test"), ("val", "Validation")])
def test_headline_shows_the_results_numbers_and_names_the_data(page, result, split, spoken):
    split_result = result[split]
    low, high = (f"{100 * end:.2f}" for end in split_result["interval"])
    assert (
        f"{spoken} accuracy, CIFAR-10 {100 * split_result['accuracy']:.2f} % "
        f"95 % interval {low}–{high} %, n = 2,000"
    ) in page.text


def test_headline_shows_cost_size_and_device(page, result):
    best = result["best"]
    for text in (
        "Parameters 4,903,242",
        "Training time 6 min 52 s",
        "Speed 873 images/s",
        "Peak memory 1.37 GiB",
        "Device AMD EPYC",
        "Precision bfloat16",
        "Measured on last checkpoint, epoch 8, 1 view",
        "Epochs 8",
        "recipe made/up",
        "finished",
        f"Best epoch {best['epoch']} (validation {100 * best['value']:.2f} %, CIFAR-10)",
    ):
        assert text in page.text


def test_counts_are_the_confusion_matrix(page, result):
    rows = page.tables["counts"]
    assert rows[0][1:] == [row["class"] for row in result["test"]["per_class"]]
    assert [[int(cell) for cell in row[1:]] for row in rows[1:]] == result["test"][
        "confusion_matrix"
    ]


def test_confused_pairs_are_the_largest_errors(page, result):
    counts = np.array(result["test"]["confusion_matrix"])
    errors = counts - np.diag(np.diag(counts))
    counts_shown = [int(row[2]) for row in page.tables["confused"][1:]]
    assert counts_shown == sorted(errors.ravel().tolist(), reverse=True)[:10]
    names = [row["class"] for row in result["test"]["per_class"]]
    true, predicted, images, fraction = page.tables["confused"][1]
    row = names.index(true)
    assert counts[row, names.index(predicted)] == int(images)
    assert fraction == f"{100 * int(images) / counts[row].sum():.1f} %"


def test_mistakes_are_those_of_the_predictions(run, page):
    predictions = Predictions.read(run / "predictions" / "test.safetensors")
    row = predictions.mistakes[0]
    probabilities = np.exp(predictions.logits[row].astype(float))
    probabilities /= probabilities.sum()
    true = predictions.labels[row]
    assert "The 25 worst mistakes of the test split" in page.text
    assert (
        f"{predictions.classes[true]} → {predictions.classes[probabilities.argmax()]} "
        f"{100 * probabilities.max():.1f} %, "
        f"loss {-np.log(probabilities[true]):.2f} index {predictions.indices[row]}"
    ) in page.text
    pictures = [a for a in page.addresses if a.startswith("data:image/png")]
    assert len(pictures) == 25
    pixels = np.array(Image.open(io.BytesIO(base64.b64decode(pictures[0].split(",")[1]))))
    assert np.array_equal(pixels, predictions.mistake_images[0])


def test_recipe_is_complete_valid_yaml_and_marks_departures(run, page):
    assert Recipe.model_validate(yaml.safe_load(page.recipe)) == RunFolder(run).recipe()
    assert page.marked == ["lr: 0.05", "nesterov: true", "duration: 8 epochs"]
    assert "lr: 0.05 # default 0.1" in page.text


def test_provenance_is_whole_and_lists_each_opening(page):
    rows = dict(page.tables["provenance"])
    assert rows["libraries"] == "torch 2.11.0, numpy 2.4.6"
    assert rows["data: source"] == "/data/images" and rows["device: threads"] == "2"
    assert rows["data: mean"] == "0.4914, 0.4822, 0.4465"
    assert "Openings of the test split" in page.text
    assert ["2026-01-05T10:08:11Z", "train", "cifarlab train made/up"] in page.tables["log"]


def test_a_start_shows_what_the_provenance_does_not(run, tmp_path):
    path = shutil.copytree(run, tmp_path / "run")
    file = path / "provenance.json"
    provenance = json.loads(file.read_text())
    versions = {key: provenance[key] for key in ("cifarlab", "python", "libraries", "device")}
    provenance["starts"] = [{**provenance["starts"][0], **versions}]
    file.write_text(json.dumps(provenance))
    assert read(write_report([path])).tables["log"][0] == ["time", "command", "step"]
    provenance["starts"].append({**provenance["starts"][0], "python": "3.12.1"})
    file.write_text(json.dumps(provenance))
    log = read(write_report([path])).tables["log"]
    assert log[0] == ["time", "command", "step", "python"]
    assert [row[3] for row in log[1:3]] == ["3.11.7", "3.12.1"]


def test_page_is_well_formed_and_loads_nothing(run, page):
    assert page.unclosed == []
    assert page.addresses and all(a.startswith(("data:image/", "#")) for a in page.addresses)
    assert not {"script", "link", "iframe", "object", "embed", "form"} & set(page.tags)
    text = (run / "report" / "report.html").read_text()
    assert not re.search(r"url\(|@import|https?://", text)


def test_inlined_figures_load_nothing(run):
    for file in (run / "report" / "figures").glob("*.svg"):
        outside = re.sub(r'xmlns(:\w+)?="[^"]*"', "", file.read_text())
        addresses = re.findall(r'(?:href|src)="([^"]*)"|url\(([^)]*)\)', outside)
        assert all(a.startswith(("#", "data:image/png")) for pair in addresses for a in pair if a)


def test_hostile_names_stay_text(tmp_path):
    evil = "<script>alert(1)</script>"
    names = (evil, '" onload="x', "$\\frac{", "--> ]]>", "\x01\x1b", "猫", "{{ 7*7 }}")
    plan = Plan(classes=names, data=f"data {evil}", n=350)
    path = make(tmp_path / "<b>run & 'co'", plan)
    result = json.loads((path / "result.json").read_text())
    result |= {"recipe": evil, "notes": [f"</style>{evil}"]}
    (path / "result.json").write_text(json.dumps(result))
    file = path / "predictions" / "test.safetensors"
    predictions = Predictions.read(file)
    replace(predictions, mistake_names=(f"a/{evil}.png",) * len(predictions.mistakes)).write(file)
    written = write_report([path])
    page = read(written)
    assert page.text.count(f"a/{evil}.png") >= 25
    assert "script" not in page.tags and "onload" not in page.attributes
    assert f"recipe {evil} · data {evil}" in page.text and "{{ 7*7 }}" in page.text
    assert sorted(file.name for file in (path / "report" / "figures").glob("*.svg")) == [
        f"b-run-co-{kind}.svg" for kind in ("classes", "confusion", "curves", "mistakes")
    ]


def test_a_name_that_is_no_utf8_is_written(tmp_path):
    names = ("caf\udce9", "tea")
    path = make(tmp_path / "run", Plan(classes=names, n=100))
    assert "caf\\udce9" in write_report([path]).read_text(encoding="utf-8")
