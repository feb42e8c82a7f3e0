"""Predictions as text: a table, CSV, JSON, or what a competition takes."""

import csv
import difflib
import io
import json
from collections import Counter
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from cifarlab.data.image_policy import SUFFIX
from cifarlab.inference.run_predictor import ClassProbabilities
from cifarlab.system.errors import DataError
from cifarlab.system.files import hint_to_read, read_text
from cifarlab.system.formatting import rows_to_csv

FORMATS = ("table", "csv", "json", "kaggle")


class SampleSubmission(NamedTuple):
    """A competition's sample submission: its two column names, its ids and its labels."""

    header: list[str]
    ids: list[str]
    labels: list[str]


def require_format(output_format: str, sample_path: Path | None = None) -> SampleSubmission | None:
    """Check the format and read the sample submission, before images are read.

    Raises:
        DataError: there is no such format, the sample needs another one, or it can't be read
    """
    if output_format not in FORMATS:
        what = f"there is no format {output_format!r}"
        raise DataError(what, f"take one of {', '.join(FORMATS)}")
    if sample_path and output_format != "kaggle":
        what = "--sample-submission is a competition's: it needs --format kaggle"
        raise DataError(what, "add that")
    return read_sample_submission(sample_path) if sample_path else None


def format_predictions(
    predictions: ClassProbabilities, output_format: str, sample_path: Path | None = None
) -> str:
    """Return the predictions as a text.

    Args:
        predictions: probabilities and ids of the images
        output_format: one of ``FORMATS``
        sample_path: a competition's sample submission, for kaggle

    Raises:
        DataError: as ``require_format`` and ``to_kaggle`` do
    """
    sample = require_format(output_format, sample_path)
    if output_format == "kaggle":
        return to_kaggle(predictions, sample)
    return {"table": to_table, "csv": to_csv, "json": to_json}[output_format](predictions)


def to_table(predictions: ClassProbabilities) -> str:
    """Return per image the id and the three likeliest classes, in aligned columns."""
    rows = []
    for name, probabilities in zip(predictions.ids, predictions.probabilities, strict=True):
        best = (-probabilities).argsort(kind="stable")[:3]
        likeliest = (f"{predictions.classes[k]} {100 * probabilities[k]:.1f} %" for k in best)
        rows.append((name, *likeliest))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)) for row in rows)
    return "".join(line.rstrip() + "\n" for line in lines)


def to_csv(predictions: ClassProbabilities) -> str:
    """Return ``id,class,confidence`` and a column of probabilities per class."""
    rows = [("id", "class", "confidence", *predictions.classes)]
    for name, k, row in _with_best(predictions):
        numbers = [f"{probability:.6f}" for probability in row]
        rows.append((name, predictions.classes[k], numbers[k], *numbers))
    return rows_to_csv(rows)


def to_json(predictions: ClassProbabilities) -> str:
    """Return temperature, and per image ``id``, ``class``, ``confidence``, ``probabilities``."""
    classes = predictions.classes
    images = [
        {
            "id": name,
            "class": classes[k],
            "confidence": row[k],
            "probabilities": dict(zip(classes, row, strict=True)),
        }
        for name, k, row in _with_best(predictions)
    ]
    return json.dumps({"temperature": predictions.temperature, "images": images}, indent=2) + "\n"


def _with_best(predictions: ClassProbabilities) -> Iterator[tuple[str, int, list[float]]]:
    """Yield each image's id, likeliest class and probabilities."""
    best = predictions.probabilities.argmax(1).tolist()
    return zip(predictions.ids, best, predictions.probabilities.tolist(), strict=True)


def to_kaggle(predictions: ClassProbabilities, sample: SampleSubmission | None) -> str:
    """Return ``ID,Labels`` in the order of the images; the labels are class numbers or names.

    A sample decides the header, whether labels are numbers or names, and whether an image file's id
    has its folder and suffix. Without one: class numbers, and names without folder and suffix.

    Raises:
        DataError: two images have one id, or ids or labels are not the sample's
    """
    numbers = list(map(str, range(len(predictions.classes))))
    ids = _image_ids(predictions.ids, set(sample.ids) if sample else set())
    repeated, n_repeats = Counter(ids).most_common(1)[0]
    if n_repeats > 1:
        raise DataError(f"two images have the id {repeated}", "give each image an id of its own")
    if sample:
        _require_ids(ids, sample.ids)
    labels = _sample_labels(predictions.classes, numbers, sample.labels) if sample else numbers
    best = predictions.probabilities.argmax(1)
    header = sample.header if sample else ["ID", "Labels"]
    return rows_to_csv([header, *zip(ids, (labels[k] for k in best), strict=True)])


def read_sample_submission(path: Path) -> SampleSubmission:
    """Read a CSV file of two columns with a header.

    Raises:
        DataError: the file can't be read, or has other columns
    """
    try:
        rows = list(csv.reader(io.StringIO(read_text(path).removeprefix("\ufeff"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        hint = hint_to_read(error, "give the sample's file")
        raise DataError(f"can't read {path}: {error!s:.120}", hint) from error
    rows = [row for row in rows if row]
    if len(rows) < 2 or any(len(row) != 2 for row in rows):
        what = f"{path} is no sample of two columns"
        raise DataError(what, "it starts with a header such as ID,Labels")
    ids, labels = ([text.strip() for text in column] for column in zip(*rows[1:], strict=True))
    return SampleSubmission(rows[0], ids, labels)


def _image_ids(names: list[str], sample_ids: set[str]) -> list[str]:
    """Return image files as stem, name or path: the first form that most ids of the sample have."""
    paths = [PurePosixPath(name.replace("\\", "/")) for name in names]
    forms = [
        [
            form(path) if SUFFIX.search(name) else name
            for name, path in zip(names, paths, strict=True)
        ]
        for form in (attrgetter("stem"), attrgetter("name"), str)
    ]
    return max(forms, key=lambda ids: len(sample_ids.intersection(ids)))


def _require_ids(ids: list[str], sample_ids: list[str]) -> None:
    """Raise DataError where the images are not the sample's."""
    id_set, sample_set = set(ids), set(sample_ids)
    if unknown := [image_id for image_id in ids if image_id not in sample_set]:
        what = f"{len(unknown)} of {len(ids)} images are not in the sample"
        raise DataError(f"{what}, first {unknown[0]}", f"its ids are like {sample_ids[0]}")
    if missing := [image_id for image_id in sample_ids if image_id not in id_set]:
        what = f"{len(missing)} of the sample's {len(sample_ids)} ids have no image"
        raise DataError(f"{what}, first {missing[0]}", "name all images of the competition")


def _sample_labels(classes: tuple[str, ...], numbers: list[str], labels: list[str]) -> list[str]:
    """Return the label of each class: its name where the sample has names, else its number."""
    has_names = set(labels) <= set(classes) or not all(label.isdecimal() for label in labels)
    class_labels = list(classes) if has_names else numbers
    if unknown := [label for label in labels if label not in class_labels]:
        matches = difflib.get_close_matches(unknown[0], classes, n=1)
        hint = f"did you mean {matches[0]}?" if matches else f"its classes are {', '.join(classes)}"
        what = f"the sample has the label {unknown[0]!r}, which is no class of this run"
        raise DataError(what, hint)
    return class_labels
