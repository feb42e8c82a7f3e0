"""Prediction as it was measured: same logits, calibrated; and each format of the predictions."""

import csv
import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cifarlab.data.opening import open_dataset
from cifarlab.data.splits import training_subsets
from cifarlab.inference.formats import FORMATS, format_predictions
from cifarlab.inference.run_predictor import ClassProbabilities, predict_images
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.predictions import Predictions
from cifarlab.system.errors import DataError

CLASSES = ("cat", "dog", "frog")
PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.3, 0.4, 0.3]])


def make_predictions(ids: list[str] | None = None) -> ClassProbabilities:
    return ClassProbabilities(ids or ["1", "2", "10"], CLASSES, PROBABILITIES, 1.5)


@pytest.fixture(scope="module")
def held_out(finished: RunFolder, tmp_path_factory) -> Path:
    """The run's validation images as files, named by their order."""
    folder = tmp_path_factory.mktemp("images")
    _, validation = training_subsets(open_dataset("digits"), finished.recipe().data)
    for number, image in enumerate(validation.images[validation.indices]):
        Image.fromarray(image[..., 0]).save(folder / f"{number}.png")
    return folder


def test_files_are_predicted_as_they_were_measured(finished: RunFolder, held_out: Path) -> None:
    result = predict_images(finished, [held_out])
    stored = Predictions.read(finished.predictions / "val.safetensors")
    temperature = finished.result()["temperature"]["value"]
    assert result.temperature == temperature
    powers = np.exp(stored.logits.astype(float) / temperature)
    assert np.allclose(result.probabilities, powers / powers.sum(1, keepdims=True), atol=1e-5)
    assert result.ids == [f"{number}.png" for number in range(len(stored.labels))]
    assert result.classes == stored.classes


def test_without_validation_probabilities_are_as_trained(copied: RunFolder, held_out: Path) -> None:
    result = copied.result()
    copied.write_result({**result, "temperature": None})
    result = predict_images(copied, [held_out / "0.png"])
    stored = Predictions.read(copied.predictions / "val.safetensors")
    powers = np.exp(stored.logits[0].astype(float))
    assert result.temperature is None
    assert np.allclose(result.probabilities[0], powers / powers.sum(), atol=1e-5)


def test_another_size_needs_a_fit(finished: RunFolder, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), "white").save(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="is 40x30, not 8x8"):
        predict_images(finished, [tmp_path / "a.jpg"])
    result = predict_images(finished, [tmp_path / "a.jpg"], "pad")
    assert result.probabilities.shape == (1, 10) and result.probabilities.sum() == pytest.approx(1)


def test_a_pickle_of_color_images_for_a_grey_network(finished: RunFolder, tmp_path: Path) -> None:
    data = np.zeros((2, 3072), np.uint8)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"data": data, "ids": [4, 2]}))
    assert predict_images(finished, [tmp_path / "a.pkl"], "stretch").ids == ["4", "2"]


def test_the_table_has_the_three_likeliest() -> None:
    lines = format_predictions(make_predictions(), "table").splitlines()
    assert lines[0].split() == ["1", "cat", "70.0", "%", "dog", "20.0", "%", "frog", "10.0", "%"]
    assert lines[2].split()[:4] == ["10", "dog", "40.0", "%"]


def test_csv_reads_back() -> None:
    rows = list(
        csv.DictReader(
            io.StringIO(format_predictions(make_predictions(["a,b", 'c"d', "e"]), "csv"))
        )
    )
    assert [row["id"] for row in rows] == ["a,b", 'c"d', "e"]
    assert [row["class"] for row in rows] == ["cat", "frog", "dog"]
    assert float(rows[1]["confidence"]) == float(rows[1]["frog"]) == 0.8


def test_json_reads_back() -> None:
    result = json.loads(format_predictions(make_predictions(), "json"))
    assert result["temperature"] == 1.5
    assert result["images"][1]["id"] == "2" and result["images"][1]["class"] == "frog"
    assert result["images"][0]["probabilities"] == {"cat": 0.7, "dog": 0.2, "frog": 0.1}


def write_sample(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_kaggle_without_a_sample_has_numbers() -> None:
    assert format_predictions(make_predictions(), "kaggle") == "ID,Labels\n1,0\n2,2\n10,1\n"


def test_an_image_files_id_is_its_bare_name() -> None:
    result = make_predictions(["test/7.png", "/a/b/8.jpeg", "c\\9.png"])
    assert format_predictions(result, "kaggle") == "ID,Labels\n7,0\n8,2\n9,1\n"


def test_a_sample_decides_header_and_labels_and_the_order_stays(tmp_path: Path) -> None:
    numbers = write_sample(tmp_path / "n.csv", "ID,Labels", "10,0", "2,0", "1,0")
    assert (
        format_predictions(make_predictions(), "kaggle", numbers) == "ID,Labels\n1,0\n2,2\n10,1\n"
    )
    names = write_sample(tmp_path / "w.csv", "id,label", "1,cat", "2,cat", "10,dog")
    assert (
        format_predictions(make_predictions(), "kaggle", names)
        == "id,label\n1,cat\n2,frog\n10,dog\n"
    )


@pytest.mark.parametrize("form", ["{}", "{}.png", "test/{}.png"])
def test_a_sample_s_ids_say_what_is_kept_of_a_file_s_name(tmp_path: Path, form: str) -> None:
    ids = [form.format(number) for number in (10, 2, 1)]
    result = make_predictions(["test/1.png", "test/2.png", "test/10.png"])
    sample_path = write_sample(
        tmp_path / "s.csv", "ID,Labels", *(f"{image_id},0" for image_id in ids)
    )
    first, second, third = (form.format(number) for number in (1, 2, 10))
    assert (
        format_predictions(result, "kaggle", sample_path)
        == f"ID,Labels\n{first},0\n{second},2\n{third},1\n"
    )


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["ID,Labels", "1,0", "2,0"], "1 of 3 images are not in the sample, first 10"),
        (["ID,Labels", "1,0", "2,0", "10,0", "11,0"], "1 of the sample's 4 ids have no image"),
        (["ID,Labels", "1,cat", "2,cat", "10,horse"], "label 'horse'"),
        (["ID,Labels", "1,0", "2,0", "10,3"], "its classes are cat, dog, frog"),
        (["ID,Labels", "1,0,5", "2,0", "10,0"], "no sample of two columns"),
        (["ID,Labels"], "no sample of two columns"),
        ([], "no sample of two columns"),
    ],
)
def test_a_sample_that_does_not_fit(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        format_predictions(make_predictions(), "kaggle", write_sample(tmp_path / "s.csv", *lines))


def test_wrong_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="can't read"):
        format_predictions(make_predictions(), "kaggle", tmp_path / "none.csv")
    with pytest.raises(DataError, match="no format 'xml'"):
        format_predictions(make_predictions(), "xml")
    with pytest.raises(DataError, match="two images have the id 1"):
        format_predictions(make_predictions(["a/1.png", "b/1.png", "2"]), "kaggle")
    for form in set(FORMATS) - {"kaggle"}:
        with pytest.raises(DataError, match="--sample-submission"):
            format_predictions(make_predictions(), form, tmp_path)
