"""Images of a run with captions: the network's mistakes, and an audit's findings in the data."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import log_softmax

from cifarlab.plots.grid import Cell, make_grid
from cifarlab.plots.run import split_title
from cifarlab.plots.spec import NARROW, Plot, label
from cifarlab.run_folder.run_data import RunData, as_rows, dig
from cifarlab.system.formatting import number, percent, to_line

_MOST = 25  # mistakes
_MOST_FINDINGS = 20


class Item(NamedTuple):
    """One image or two, uint8 (H, W, C), under a title, with a line for each detail."""

    images: Sequence[np.ndarray]
    title: str
    details: Sequence[str]


def worst_mistakes(run: RunData) -> list[Item]:
    """Return up to 25 mistakes, highest loss first; none where there are no predictions."""
    return [item for _, item in _all_mistakes(run)[:_MOST]]


def confident_mistakes(run: RunData) -> list[Item]:
    """Return up to 25 mistakes, the highest probability first.

    Empty where there are so few that ``worst_mistakes`` returns all of them.
    """
    mistakes = _all_mistakes(run)
    surest = sorted(mistakes, key=lambda mistake: -mistake[0])[:_MOST]
    return [item for _, item in surest] if len(mistakes) > _MOST else []


def _all_mistakes(run: RunData) -> list[tuple[float, Item]]:
    """Return the stored mistakes, each with the probability of the predicted class."""
    predictions, mistakes = run.predictions, []
    if predictions is None:
        return []
    log_probs = log_softmax(predictions.logits[predictions.mistakes].astype(np.float64), axis=1)
    truths, classes = predictions.labels[predictions.mistakes], predictions.classes
    rows = zip(truths, log_probs, predictions.mistake_images, strict=False)
    for index, (truth, row, image) in enumerate(rows):
        probability = float(np.exp(row.max()))
        detail = f"{percent(probability, 1)}, loss\u00a0{-row[truth]:.2f}"
        title = f"{classes[truth]} → {classes[row.argmax()]}"
        mistakes.append(
            (probability, Item([image], title, [detail, predictions.mistake_name(index)]))
        )
    return mistakes


def suspects(run: RunData) -> list[Item]:
    """Return the most suspicious labels that the network would change, with their images."""
    rows = as_rows(dig(run.audit, "labels", "suspects"))
    pictures = run.audit_images.get("suspects", np.empty(0))
    items = []
    for row, image in zip(rows, pictures, strict=False):
        row_label, predicted, true = (row.get(f"{k}_label") for k in ("given", "predicted", "true"))
        if row_label != predicted:
            guess = _class_name(run, predicted)
            details = [f"{percent(row.get('probability'), 1)} {guess}", _image_name(row)]
            details += [f"truly {_class_name(run, true)}"] if true != row_label else []
            items.append(Item([image], f"{_class_name(run, row_label)} → {guess}", details))
    return items[:_MOST_FINDINGS]


def duplicates(run: RunData) -> list[Item]:
    """Return near-duplicates side by side, those across splits first."""
    rows = as_rows(dig(run.audit, "duplicates", "pairs"))
    pictures = run.audit_images.get("pairs", np.empty(0))
    items = []
    for row, pair_images in list(zip(rows, pictures, strict=False))[:_MOST_FINDINGS]:
        sides = as_rows([row.get("a"), row.get("b")])
        if len(sides) == 2:
            names = dict.fromkeys(_class_name(run, side.get("given_label")) for side in sides)
            similarity = number(row.get("similarity")) or 0.0
            details = ["equal" if similarity == 1 else f"similarity {similarity:.4f}"]
            details += [f"{to_line(side.get('split'))}: {_image_name(side)}" for side in sides]
            items.append(Item(list(pair_images), " / ".join(names), details))
    return items


def _image_name(image: dict[str, Any]) -> str:
    """Return the name of an image of the findings, or its index where it has none."""
    return str(image.get("name") or f"index {image.get('index')}")


def _class_name(run: RunData, index: Any) -> str:
    names = dig(run.audit, "classes")
    sound = isinstance(names, list) and isinstance(index, int) and 0 <= index < len(names)
    return str(names[index]) if sound else to_line(index)


def worst_gallery(run: RunData) -> Plot | None:
    """Return the worst mistakes as a figure."""
    return _gallery(worst_mistakes(run), 5, split_title(run, run.predicted_split))


def confident_gallery(run: RunData) -> Plot | None:
    """Return the most confident mistakes as a figure."""
    return _gallery(confident_mistakes(run), 5, split_title(run, run.predicted_split))


def suspects_gallery(run: RunData) -> Plot | None:
    """Return the label suspects as a figure."""
    return _gallery(suspects(run), 5, "given label → predicted label")


def duplicates_gallery(run: RunData) -> Plot | None:
    """Return the near-duplicates as a figure."""
    return _gallery(duplicates(run), 4, "near-duplicates")


def _gallery(items: Sequence[Item], columns: int, title: str) -> Plot | None:
    """Return the images as a figure of one column of a page; none where there are none."""
    cells = []
    for item in items:
        detail = item.details[0].partition(",")[0].replace("\u00a0", " ")
        title_lines = [label(part, 13 * len(item.images) + 3) for part in item.title.split(" → ")]
        text = "\n".join(["\n→ ".join(title_lines), label(detail, 26)])
        cells.append(Cell(item.images, [text]))
    return make_grid(cells, columns, title, width=NARROW) if cells else None
