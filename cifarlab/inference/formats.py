"""Predictions as text: a table, CSV, JSON, or what a competition takes."""

import csv
import difflib
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from cifarlab.data.image_policy import SUFFIX
from cifarlab.inference.run_predictor import ClassProbabilities
from cifarlab.system.errors import DataError, UserError
from cifarlab.system.files import hint_to_read, read_text
from cifarlab.system.formatting import rows_to_csv

FORMATS = ("table", "csv", "json", "kaggle")


class SampleSubmission(NamedTuple):
    """A competition's sample submission: its two column names, its ids and its labels."""

    header: list[str]
    ids: list[str]
    labels: list[str]


def require_format(
    output_format: str, sample_path: Path | None = None, *, sets: bool = False, reject: bool = False
) -> SampleSubmission | None:
    """Check the format and read the sample submission, before images are read.

    Args:
        output_format: one of ``FORMATS``
        sample_path: a competition's sample submission, for kaggle
        sets: whether the predictions have sets of classes
        reject: whether an image with several classes in its set gets none

    Raises:
        DataError: there is no such format, the sample needs another one, or it can't be read
        UserError: sets are missing or have no place in the format
    """
    if reject and not sets:
        what = "--reject names no class where an image's set has several, and there are no sets"
        raise UserError(what, "add --coverage, such as --coverage 0.9")
    if sets and output_format == "kaggle":
        raise UserError("a competition takes one class for each image", "leave out --coverage")
    if output_format not in FORMATS:
        what = f"there is no format {output_format!r}"
        raise DataError(what, f"take one of {', '.join(FORMATS)}")
    if sample_path and output_format != "kaggle":
        what = "--sample-submission is a competition's: it needs --format kaggle"
        raise DataError(what, "add that")
    return read_sample_submission(sample_path) if sample_path else None


def format_predictions(
    predictions: ClassProbabilities,
    output_format: str,
    sample_path: Path | None = None,
    *,
    reject: bool = False,
) -> str:
    """Return the predictions as a text.

    Args:
        predictions: probabilities and ids of the images
        output_format: one of ``FORMATS``
        sample_path: a competition's sample submission, for kaggle
        reject: name no class of an image whose set has several

    Raises:
        DataError: as ``require_format`` and ``to_kaggle`` do
        UserError: as ``require_format`` does
    """
    has_sets = predictions.conformal is not None
    sample = require_format(output_format, sample_path, sets=has_sets, reject=reject)
    if output_format == "kaggle":
        return to_kaggle(predictions, sample)
    return {"table": to_table, "csv": to_csv, "json": to_json}[output_format](predictions, reject)


def to_table(predictions: ClassProbabilities, reject: bool = False) -> str:
    """Return per image the id and the three likeliest classes, in aligned columns.

    With sets, the set stands after the id, in braces; before it, with ``reject``, the class or -.
    """
    rows = []
    for image in _images(predictions, reject):
        probabilities = np.array(image.probabilities)
        best = (-probabilities).argsort(kind="stable")[:3]
        likeliest = (f"{predictions.classes[k]} {100 * probabilities[k]:.1f} %" for k in best)
        answer = [image.name or "-"] if reject else []
        if image.classes is not None:
            answer.append(f"{{{', '.join(image.classes)}}}")
        rows.append((image.id, *answer, *likeliest))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)) for row in rows)
    return "".join(line.rstrip() + "\n" for line in lines)


def to_csv(predictions: ClassProbabilities, reject: bool = False) -> str:
    """Return ``id,class,confidence`` and a column of probabilities per class.

    With sets there is ``set`` after these three, its classes with a | between them. With ``reject``
    the class of an image with several is empty.
    """
    sets = () if predictions.conformal is None else ("set",)
    rows = [("id", "class", "confidence", *sets, *predictions.classes)]
    for image in _images(predictions, reject):
        numbers = [f"{probability:.6f}" for probability in image.probabilities]
        classes = () if image.classes is None else ("|".join(image.classes),)
        confidence = f"{max(image.probabilities):.6f}"
        rows.append((image.id, image.name or "", confidence, *classes, *numbers))
    return rows_to_csv(rows)


def to_json(predictions: ClassProbabilities, reject: bool = False) -> str:
    """Return temperature, and per image ``id``, ``class``, ``confidence``, ``probabilities``.

    With sets also ``coverage``, ``threshold`` and ``n_calibration`` under ``sets``, and per image
    ``set``. With ``reject`` the class of an image with several is null.
    """
    conformal = predictions.conformal
    images = [
        {
            "id": image.id,
            "class": image.name,
            "confidence": max(image.probabilities),
            **({} if image.classes is None else {"set": image.classes}),
            "probabilities": dict(zip(predictions.classes, image.probabilities, strict=True)),
        }
        for image in _images(predictions, reject)
    ]
    about = {"sets": conformal._asdict()} if conformal else {}
    tree = {"temperature": predictions.temperature, **about, "images": images}
    return json.dumps(tree, indent=2) + "\n"


class _ImageAnswer(NamedTuple):
    """One image's answer; ``name`` is None where it is rejected, ``classes`` without sets."""

    id: str
    name: str | None
    classes: list[str] | None
    probabilities: list[float]


def _images(predictions: ClassProbabilities, reject: bool) -> Iterator[_ImageAnswer]:
    """Yield each image's answer."""
    best = predictions.probabilities.argmax(1).tolist()
    sets: Sequence[list[str] | None] = predictions.sets() or [None] * len(best)
    rows = zip(predictions.ids, best, sets, predictions.probabilities.tolist(), strict=True)
    for image_id, k, classes, row in rows:
        is_rejected = reject and classes is not None and len(classes) > 1
        yield _ImageAnswer(image_id, None if is_rejected else predictions.classes[k], classes, row)


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
