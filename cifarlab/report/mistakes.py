"""The worst mistakes, of the highest loss, and the most confident ones, as images."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from cifarlab.plots.style import NARROW, label, sheet
from cifarlab.run_folder.run_data import SPOKEN, RunData

MOST = 25


@dataclass(frozen=True)
class Mistake:
    """One wrong prediction: ``probability`` is that of the predicted class, ``loss`` in nats.

    ``name`` is the image's path in the data, or its index.
    """

    true: str
    predicted: str
    probability: float
    loss: float
    name: str
    image: np.ndarray

    @property
    def uri(self) -> str:
        """The image as a PNG inside a data address, at its own size: the page scales it."""
        return data_uri(self.image)


def worst(run: RunData) -> list[Mistake]:
    """Return up to ``MOST`` mistakes, highest loss first; none where there are no predictions."""
    return _stored_mistakes(run)[:MOST]


def confident(run: RunData) -> list[Mistake]:
    """Return up to ``MOST`` mistakes, those first that the network was surest of.

    Empty where there are so few that ``worst`` shows all of them.
    """
    mistakes = _stored_mistakes(run)
    return (
        sorted(mistakes, key=lambda mistake: -mistake.probability)[:MOST]
        if len(mistakes) > MOST
        else []
    )


def _stored_mistakes(run: RunData) -> list[Mistake]:
    predictions = run.predictions
    if predictions is None:
        return []
    mistakes = []
    pairs = zip(predictions.mistakes, predictions.mistake_images, strict=False)
    for number, (row, image) in enumerate(pairs):
        logits = predictions.logits[row].astype(np.float64)
        log_probs = logits - logits.max()
        log_probs -= np.log(np.exp(log_probs).sum())
        guess, label_ = int(logits.argmax()), int(predictions.labels[row])
        mistakes.append(
            Mistake(
                true=predictions.classes[label_],
                predicted=predictions.classes[guess],
                probability=float(np.exp(log_probs[guess])),
                loss=float(-log_probs[label_]),
                name=predictions.mistake_name(number),
                image=image,
            )
        )
    return mistakes


def data_uri(image: np.ndarray) -> str:
    """Return a uint8 image (H, W, C) as a PNG inside an address."""
    return "data:image/png;base64," + base64.b64encode(png(image)).decode("ascii")


def png(image: np.ndarray) -> bytes:
    """Return a uint8 image (H, W, C), C 1 or 3, as PNG."""
    pixels = image[..., 0] if image.shape[-1] == 1 else image
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", optimize=True)
    return file.getvalue()


def gallery(run: RunData) -> Figure | None:
    """Draw the worst mistakes as one figure, five to a row; None where there are none to show."""
    return _gallery(run, worst(run))


def confident_gallery(run: RunData) -> Figure | None:
    """Draw the most confident mistakes, likewise."""
    return _gallery(run, confident(run))


def _gallery(run: RunData, mistakes: list[Mistake]) -> Figure | None:
    if not mistakes:
        return None
    rows = (len(mistakes) + 4) // 5
    figure = sheet(NARROW, 0.25 + 1.22 * rows)
    axes = figure.subplots()  # one for all: 25 would take a second to lay out
    axes.axis("off")
    for index, mistake in enumerate(mistakes):
        _draw_mistake(axes, mistake, 1.1 * (index % 5), 1.55 * (index // 5))
    axes.set(xlim=(0, 5.4), ylim=(1.55 * rows - 0.5, -0.5), aspect="equal")
    split = SPOKEN.get(run.predicted or "", "")
    axes.set_title(f"{label(run.data_name, 40)}, {split} split", loc="left", pad=2)
    return figure


def _draw_mistake(axes: Axes, mistake: Mistake, left: float, top: float) -> None:
    """Draw one image of side 1 with its words above it."""
    image = np.repeat(mistake.image, 3, -1) if mistake.image.shape[-1] == 1 else mistake.image
    axes.imshow(image, interpolation="none", extent=(left, left + 1, top + 1, top))
    words = f"{label(mistake.true, 14)}\n→ {label(mistake.predicted, 14)}\n"
    axes.text(
        left + 0.5,
        top - 0.03,
        f"{words}{100 * mistake.probability:.1f} %",
        fontsize=6,
        ha="center",
        va="bottom",
        linespacing=1.1,
    )
