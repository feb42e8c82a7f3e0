"""``explain_run`` and its command: files, index, warnings, refusals."""

import json
import shutil
import sys
from html import unescape

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cifarlab.cli import app
from cifarlab.data.opening import open_dataset
from cifarlab.data.splits import training_subsets
from cifarlab.explain import explain_run as run
from cifarlab.explain.explain_run import explain_run
from cifarlab.inference.run_predictor import RunPredictor, predict_images
from cifarlab.report.write import write_report
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import DataError, MissingExtraError, UserError
from cifarlab.training.train import train

ALWAYS = ["maps", "mistakes", "features", "filters", "architecture"]


@pytest.fixture(scope="module")
def explained_run(finished, tmp_path_factory):
    """The tiny run, explained with all layers and the sanity check."""
    path = tmp_path_factory.mktemp("explained") / "run"
    shutil.copytree(finished.path, path)
    folder = RunFolder(path)
    return folder, explain_run(folder, layers="all", sanity_check=True, formats=["png"])


def test_every_figure_is_written_and_listed(explained_run):
    folder, result = explained_run
    assert result.folder == folder.explained
    assert result.slugs == [
        "maps",
        "mistakes",
        "features",
        "sanity_check",
        "filters",
        "architecture",
    ]
    index = json.loads((folder.explained / "explained.json").read_text())
    assert (index["epoch"], index["step"]) == (3, 33)
    assert list(index["figures"]) == result.slugs
    for slug in result.slugs:
        pixels = np.array(Image.open(folder.explained / f"{slug}.png").convert("L"))
        assert pixels.std() > 5
        assert (folder.explained / f"{slug}.svg").read_bytes().startswith(b"<?xml")


def test_the_index_names_the_weights_that_were_checked(copied, monkeypatch):
    def delete_weights_after_reading(folder, fit):
        run_predictor = RunPredictor(folder, fit)
        folder.weights("last").unlink()
        return run_predictor

    monkeypatch.setattr(run, "RunPredictor", delete_weights_after_reading)
    explain_run(copied)
    index = json.loads((copied.explained / "explained.json").read_text())
    assert (index["epoch"], index["step"]) == (3, 33)


def test_held_out_images_are_shown_one_of_each_class(explained_run, tiny):
    _, result = explained_run
    recipe = tiny()
    _, held_out = training_subsets(open_dataset("digits"), recipe.data)
    indices = [int(name.removeprefix("validation index ")) for name, *_ in result.rows]
    assert set(indices) <= set(held_out.indices)
    assert [true for _, true, *_ in result.rows] == [str(k) for k in range(10)]
    labels = open_dataset("digits").read("train").labels
    assert [str(labels[index]) for index in indices] == [row[1] for row in result.rows]
    assert all(row[4] == row[2] for row in result.rows)


def test_probabilities_are_those_of_a_prediction(tmp_path, tiny):
    """Of all views, at the temperature, as 'cifarlab predict' has them."""
    views = {
        "evaluation.tta_views": 6,
        "evaluation.tta_fraction": 0.5,
        "training.duration": "1 epoch",
    }
    folder = RunFolder(tmp_path / "run")
    train(tiny(views), folder)
    rng = np.random.default_rng(0)
    files = [tmp_path / f"{number}.png" for number in range(8)]
    for file in files:
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(file)
    probabilities = predict_images(folder, files).probabilities.max(1)
    rows = explain_run(folder, files, out=tmp_path / "out").rows
    assert [row[3] for row in rows] == [
        f"{100 * probability:.1f} %" for probability in probabilities
    ]


def test_the_test_split_stays_closed(explained_run, finished):
    folder, _ = explained_run
    assert folder.provenance()["test_openings"] == finished.provenance()["test_openings"]
    assert folder.result() == finished.result()


def test_coarse_maps_are_warned_about(explained_run):
    _, result = explained_run
    assert result.notes[:3] == [
        "layer stem, map of 8 x 8",
        "layer stage1, map of 8 x 8",
        "layer stage2, map of 4 x 4",
    ]
    assert result.notes[3].startswith("warning: a map of 4 x 4 or less says little")
    assert "stage2 has 4 x 4; for a finer map: --layers stage1" in result.notes[3]
    assert result.notes[4].startswith("The maps ")


def test_a_report_shows_what_is_there(explained_run, tmp_path):
    folder, _ = explained_run
    page = unescape(write_report([folder.path], tmp_path / "page.html").read_text("utf-8"))
    for figure in json.loads((folder.explained / "explained.json").read_text())["figures"].values():
        assert figure["caption"].partition("(")[0] in page
    assert "What it looks at" in page


def test_other_layers_replace_the_figure_and_leave_the_rest(copied):
    explain_run(copied, sanity_check=True)
    result = explain_run(copied, layers="stage1")
    assert result.slugs == ALWAYS and result.notes == ["layer stage1, map of 8 x 8"]
    index = json.loads((copied.explained / "explained.json").read_text())["figures"]
    assert set(index) == {*ALWAYS, "sanity_check"}
    assert "of stage1 after epoch 3" in index["maps"]["caption"]


def test_figures_of_other_weights_are_forgotten(copied):
    explain_run(copied, sanity_check=True)
    (copied.explained / "sanity_check.md").write_text("somebody's notes")
    file = copied.explained / "explained.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"step": 22}))
    explain_run(copied)
    assert "sanity_check" not in json.loads(file.read_text())["figures"]
    names = [file.name for file in copied.explained.glob("sanity_check.*")]
    assert names == ["sanity_check.md"]
    assert (copied.explained / "maps.svg").exists()


def test_a_foreign_index_is_replaced_and_no_report_minds_it(copied, tmp_path):
    copied.explained.mkdir()
    for content in ("[]", "{", '{"epoch": "x"}', '{"epoch": 3, "figures": {"maps": 7}}'):
        (copied.explained / "explained.json").write_text(content)
        page = write_report([copied.path], tmp_path / "page.html").read_text(encoding="utf-8")
        assert "What it looks at" not in page
    explain_run(copied)
    assert json.loads((copied.explained / "explained.json").read_text())["epoch"] == 3


def test_image_files_are_explained_apart(copied, tmp_path):
    photo = tmp_path / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    Image.fromarray(pixels).save(photo)
    result = explain_run(
        copied, [photo], resize_mode="crop", target="7", out=tmp_path / "out", formats=["pdf"]
    )
    assert result.slugs == ["given-maps", "given-features"]
    [row] = result.rows
    assert row[0] == "photo.png" and row[1] == "" and row[4] == "7"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "given-features.pdf",
        "given-features.svg",
        "given-maps.pdf",
        "given-maps.svg",
    ]
    assert not copied.explained.exists()


def test_wrong_options_are_refused(copied, tmp_path):
    photo = tmp_path / "photo.png"
    Image.new("RGB", (40, 30)).save(photo)
    (tmp_path / "torn.png").write_bytes(photo.read_bytes()[:60])
    for error, words, arguments in (
        (DataError, "--resize-mode=crop", {"images": [photo]}),
        (UserError, "take one of crop", {"images": [photo], "resize_mode": "squeeze"}),
        (DataError, "torn.png", {"images": [tmp_path / "torn.png"], "resize_mode": "crop"}),
        (DataError, "can't read", {"images": [tmp_path / "none.png"]}),
        (UserError, "not known", {"images": [photo], "resize_mode": "crop", "target": "true"}),
        (UserError, "no class", {"target": "cat"}),
        (UserError, "can't be drawn as 'jpg'", {"formats": ["svg", "jpg"]}),
        (UserError, "stem, stage1, stage2", {"layers": "stage9"}),
    ):
        with pytest.raises(error, match=words):
            explain_run(copied, **arguments)
    assert not copied.explained.exists()


def test_a_missing_library_is_named_with_its_extra(copied, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum", None)  # an import of it fails
    with pytest.raises(MissingExtraError, match="captum") as caught:
        explain_run(copied)
    assert "cifarlab[explain]" in caught.value.hint


def test_nothing_held_out_shows_training_images(tiny, tmp_path):
    from cifarlab.training.train import train

    folder = RunFolder(tmp_path / "run")
    train(tiny({"data.val_fraction": 0, "training.duration": "2 steps"}), folder)
    result = explain_run(folder)
    assert all(name.startswith("training index ") for name, *_ in result.rows)


def test_the_commands(copied, tmp_path):
    outcome = CliRunner().invoke(app, ["explain", str(copied.path), "--layers", "stage1"])
    assert outcome.exit_code == 0, outcome.output
    assert outcome.output.startswith("10 classes: 0, 1, ")
    command = ["recipes", "draw", "speed/94", "model.channels=[8, 16, 16]", "--out", str(tmp_path)]
    outcome = CliRunner().invoke(app, command)
    assert outcome.exit_code == 0, outcome.output
    assert [file.name for file in tmp_path.glob("speed*")] == ["speed-94-architecture.svg"]
    assert {file.suffix for file in copied.explained.iterdir()} == {".svg", ".json"}
