"""What an audit found in a run's data: label suspects and near-duplicates, as tables and images."""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cifarlab.plots.style import NARROW, label, sheet
from cifarlab.report.evaluation import Table, listed, table_of
from cifarlab.report.mistakes import data_uri
from cifarlab.report.tables import Fact
from cifarlab.run_folder.run_data import RunData, dig
from cifarlab.system.formatting import count, number, percent, plain

MOST = 20


class AuditImage(NamedTuple):
    """One or two images with words; ``images`` uint8 (H, W, C) each."""

    images: list[np.ndarray]
    title: str
    details: list[str]

    @property
    def uris(self) -> list[str]:
        """The images as data addresses."""
        return [data_uri(image) for image in self.images]


def label_facts(run: RunData) -> list[Fact]:
    """Return how many labels are suspected, and the ranking's precision where it is known."""
    section = dig(run.audit, "labels")
    if not isinstance(section, dict):
        return []
    facts = [
        Fact("Labels judged", count(section.get("n"))),
        Fact("Agree with a network that never saw them", percent(section.get("agreement"))),
        Fact("Estimated to be wrong", count(section.get("estimated"))),
    ]
    noise = section.get("noise")
    if isinstance(noise, dict):
        facts += [
            Fact("Known to be wrong", count(noise.get("wrong"))),
            Fact("Precision at that number", percent(noise.get("precision"))),
            Fact("Chance", percent(noise.get("chance"))),
        ]
    return facts


def depths(run: RunData) -> Table | None:
    """Return precision and recall by the number of suspects looked at, where the truth is known."""
    return table_of(
        "suspects#, precision#, recall#",
        [
            (count(row.get("suspects")), percent(row.get("precision")), percent(row.get("recall")))
            for row in listed(dig(run.audit, "labels", "noise", "curve"))
        ],
    )


def twin_facts(run: RunData) -> list[Fact]:
    """Return how many images are there twice."""
    section = dig(run.audit, "duplicates")
    if not isinstance(section, dict):
        return []
    images = section.get("images")
    searched = sum(int(number(n) or 0) for n in images.values()) if isinstance(images, dict) else 0
    return [
        Fact("Images searched", count(searched)),
        Fact("Groups of equal or near-equal images", count(section.get("groups"))),
        Fact("Equal pairs", count(section.get("equal"))),
        Fact("Near-equal pairs", count(section.get("near"))),
        Fact("Groups with several labels", count(section.get("conflicts"))),
    ]


def twins(run: RunData) -> Table | None:
    """Return how many images of each split have a twin in each."""
    return table_of(
        "images of, with a twin in, images#",
        [
            (plain(row.get("of")), plain(row.get("in")), count(row.get("images")))
            for row in listed(dig(run.audit, "duplicates", "twins"))
        ],
    )


def suspects(run: RunData) -> list[AuditImage]:
    """Return the most suspicious labels that the network would change, with their images."""
    rows = listed(dig(run.audit, "labels", "suspects"))
    pictures = run.audit_images.get("suspects", np.empty(0))
    items = []
    for row, image in zip(rows, pictures, strict=False):
        if row.get("given_label") == row.get("predicted_label"):
            continue
        given_label, predicted = (
            _named(run, row.get(key)) for key in ("given_label", "predicted_label")
        )
        details = [f"{percent(row.get('probability'), 1)} {predicted}", image_name(row)]
        if row.get("true_label") != row.get("given_label"):
            details.append(f"truly {_named(run, row.get('true_label'))}")
        items.append(AuditImage([image], f"{given_label} → {predicted}", details))
    return items[:MOST]


def pairs(run: RunData) -> list[AuditImage]:
    """Return near-duplicates side by side, those across splits first."""
    rows = listed(dig(run.audit, "duplicates", "pairs"))
    pictures = run.audit_images.get("pairs", np.empty(0))
    items = []
    for row, both in list(zip(rows, pictures, strict=False))[:MOST]:
        ends = [row.get(key) for key in ("a", "b")]
        sides = [end for end in ends if isinstance(end, dict)]
        if len(sides) < 2:
            continue
        names = [_named(run, side.get("given_label")) for side in sides]
        locations = [f"{plain(side.get('split'))}: {image_name(side)}" for side in sides]
        similar = number(row.get("similarity")) or 0.0
        word = "equal" if similar == 1 else f"similarity {similar:.4f}"
        title = names[0] if names[0] == names[1] else " / ".join(names)
        items.append(AuditImage(list(both), title, [word, *locations]))
    return items


def image_name(image: dict[str, Any]) -> str:
    """Return what the data call an image of the findings, or else its index."""
    return str(image.get("name") or f"index {image.get('index')}")


def notes(run: RunData, part: str) -> list[str]:
    """Return what must be read beside the findings in ``labels`` or ``duplicates``."""
    lines = dig(run.audit, part, "notes")
    return [str(note) for note in lines] if isinstance(lines, list) else []


def suspects_figure(run: RunData) -> Figure | None:
    """Draw the label suspects as one figure; None without any."""
    return _sheet(suspects(run), 5, "given label → predicted label")


def pairs_figure(run: RunData) -> Figure | None:
    """Draw the near-duplicates as one figure; None without any."""
    return _sheet(pairs(run), 4, "near-duplicates")


def _sheet(items: list[AuditImage], columns: int, title: str) -> Figure | None:
    if not items:
        return None
    wide = len(items[0].images)
    rows = -(-len(items) // columns)
    step = wide + 0.25
    figure = sheet(NARROW, 0.3 + NARROW / (columns * step) * 1.5 * rows)
    axes = figure.subplots()
    axes.axis("off")
    for index, item in enumerate(items):
        _draw_item(axes, item, step * (index % columns), 1.5 * (index // columns))
    axes.set(xlim=(0, step * columns), ylim=(1.5 * rows - 0.4, -0.5), aspect="equal")
    axes.set_title(title, loc="left", pad=2)
    return figure


def _draw_item(axes: Axes, item: AuditImage, left: float, top: float) -> None:
    for number_, image in enumerate(item.images):
        pixels = np.repeat(image, 3, -1) if image.shape[-1] == 1 else image
        start = left + number_
        axes.imshow(pixels, interpolation="none", extent=(start, start + 1, top + 1, top))
    detail = item.details[0].replace("\u00a0", " ")
    text = f"{label(item.title, 13 * len(item.images) + 8)}\n{label(detail, 26)}"
    axes.text(left, top - 0.04, text, fontsize=5.5, va="bottom", linespacing=1.1)


def _named(run: RunData, index: Any) -> str:
    names = dig(run.audit, "classes")
    sound = isinstance(names, list) and isinstance(index, int) and 0 <= index < len(names)
    return str(names[index]) if sound else plain(index)
