"""Answers as text: a table, CSV, JSON, or what a competition takes."""

import csv
import difflib
import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from cifarlab.inference.inputs import IMAGE
from cifarlab.inference.run_predictor import Answers
from cifarlab.system.errors import DataError
from cifarlab.system.files import hint_to_read, read_text

FORMATS = ("table", "csv", "json", "kaggle")


class Sample(NamedTuple):
    """A competition's sample submission: its two column names, its ids and its labels."""

    header: tuple[str, str]
    ids: list[str]
    labels: list[str]


def require_form(form: str, sample: Path | None = None) -> Sample | None:
    """The sample, read, where there is one; to be asked before images are. Raises DataError."""
    if form not in FORMATS:
        raise DataError(f"there is no format {form!r}", f"take one of {', '.join(FORMATS)}")
    if sample and form != "kaggle":
        raise DataError("--sample is a competition's: it needs --format kaggle", "add that")
    return read_sample(sample) if sample else None


def written(answers: Answers, form: str, sample: Path | None = None) -> str:
    """The answers in one of ``FORMATS``; ``sample`` belongs to kaggle. Raises DataError."""
    told = require_form(form, sample)
    if form == "kaggle":
        return kaggle(answers, told)
    return {"table": table, "csv": as_csv, "json": as_json}[form](answers)


def table(answers: Answers) -> str:
    """Per image the id and the three likeliest classes, in aligned columns."""
    rows = []
    for name, shares in zip(answers.ids, answers.shares, strict=True):
        best = (-shares).argsort(kind="stable")[:3]
        likeliest = (f"{answers.classes[k]} {100 * shares[k]:.1f} %" for k in best)
        rows.append((name, *likeliest))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "".join(line.rstrip() + "\n" for line in lines)


def as_csv(answers: Answers) -> str:
    """``id,class,confidence`` and a column of probabilities per class."""
    rows = [["id", "class", "confidence", *answers.classes]]
    for name, shares in zip(answers.ids, answers.shares, strict=True):
        best = int(shares.argmax())
        numbers = (f"{share:.6f}" for share in shares)
        rows.append([name, answers.classes[best], f"{shares[best]:.6f}", *numbers])
    return _csv(rows)


def as_json(answers: Answers) -> str:
    """The temperature, and per image ``id``, ``class``, ``confidence``, ``probabilities``."""
    images = []
    for name, shares in zip(answers.ids, answers.shares, strict=True):
        best = int(shares.argmax())
        images.append(
            {
                "id": name,
                "class": answers.classes[best],
                "confidence": float(shares[best]),
                "probabilities": dict(zip(answers.classes, shares.tolist(), strict=True)),
            }
        )
    return json.dumps({"temperature": answers.temperature, "images": images}, indent=2) + "\n"


def kaggle(answers: Answers, sample: Sample | None) -> str:
    """``ID,Labels`` in the order of the images; the labels are class numbers or names.

    A sample decides the header, which of the two, and whether an image file's id keeps its folder
    and suffix. Without one: class numbers, and bare names. Raises DataError where ids or labels
    are not the sample's.
    """
    ids = _ids(answers.ids, sample)
    _require_ids(ids, sample)
    names = _label_names(answers.classes, sample)
    best = answers.shares.argmax(1)
    header = sample.header if sample else ("ID", "Labels")
    return _csv([list(header), *([one, names[k]] for one, k in zip(ids, best, strict=True))])


def read_sample(path: Path) -> Sample:
    """A CSV file of two columns with a header. Raises DataError."""
    try:
        rows = list(csv.reader(io.StringIO(read_text(path).removeprefix("\ufeff"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        hint = hint_to_read(error, "give the sample's file")
        raise DataError(f"can't read {path}: {error!s:.120}", hint) from error
    rows = [row for row in rows if row]
    if len(rows) < 2 or any(len(row) != 2 for row in rows):
        raise DataError(
            f"{path} is no sample of two columns", "it starts with a header such as ID,Labels"
        )
    ids, labels = ([row[side].strip() for row in rows[1:]] for side in (0, 1))
    return Sample((rows[0][0], rows[0][1]), ids, labels)


def _ids(names: list[str], sample: Sample | None) -> list[str]:
    """Image files by bare name, name or path: the first form of which most are in the sample."""

    def written_as(form: Callable[[PurePosixPath], str]) -> list[str]:
        return [form(PurePosixPath(n.replace("\\", "/"))) if IMAGE.search(n) else n for n in names]

    known = set(sample.ids) if sample else set()
    forms = [written_as(lambda path: path.stem), written_as(lambda path: path.name)]
    return max(*forms, written_as(str), key=lambda ids: len(known.intersection(ids)))


def _require_ids(ids: list[str], sample: Sample | None) -> None:
    twice, most = Counter(ids).most_common(1)[0]
    if most > 1:
        raise DataError(f"two images have the id {twice}", "give each image an id of its own")
    if sample is None:
        return
    ours, theirs = set(ids), set(sample.ids)
    if unknown := [one for one in ids if one not in theirs]:
        raise DataError(
            f"{len(unknown)} of {len(ids)} images are not in the sample, first {unknown[0]}",
            f"its ids are like {sample.ids[0]}",
        )
    if missing := [one for one in sample.ids if one not in ours]:
        raise DataError(
            f"{len(missing)} of the sample's {len(sample.ids)} ids have no image, "
            f"first {missing[0]}",
            "name all images of the competition",
        )


def _label_names(classes: tuple[str, ...], sample: Sample | None) -> list[str]:
    """What stands for each class: its name where the sample has names, else its number."""
    numbers = [str(number) for number in range(len(classes))]
    if sample is None:
        return numbers
    numbered = all(label.isdecimal() for label in sample.labels)
    known = list(classes)
    if numbered and not set(sample.labels) <= set(classes):
        known = numbers
    unknown = next((label for label in sample.labels if label not in known), None)
    if unknown is None:
        return known
    near = difflib.get_close_matches(unknown, classes, n=1)
    raise DataError(
        f"the sample has the label {unknown!r}, which is no class of this run",
        f"did you mean {near[0]}?" if near else f"its classes are {', '.join(classes)}",
    )


def _csv(rows: list[list[str]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()
