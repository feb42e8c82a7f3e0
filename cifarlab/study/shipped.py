"""The studies that come with cifarlab, as values; each asks what one report asked."""

import difflib
from pathlib import Path

from cifarlab.errors import UserError
from cifarlab.study.definition import Reported, Row, Study, from_file

_QUICKSTART = Study(
    name="quickstart",
    about="Do augmentation and the optimizer matter on the embedded digits? Runs in a minute.",
    rows=(
        Row(name="quickstart", recipe="quickstart"),
        Row(name="no-crop", recipe="quickstart", changes={"augment.crop.padding": 0}),
        Row(name="adamw", recipe="quickstart", changes={"optimizer.kind": "adamw"}),
    ),
)


def _kth2024(accuracy: float) -> Reported:
    return Reported(accuracy=accuracy, source="kth2024")


_KTH2024 = Study(
    name="kth2024/regularisers",
    about="Which single regulariser helps the tutorial CNN, as kth2024 compared them?",
    rows=(
        Row(name="baseline", recipe="kth2024/baseline", reported=_kth2024(73.81)),
        Row(name="dropout", recipe="kth2024/dropout", reported=_kth2024(82.12)),
        Row(
            name="weight-decay",
            recipe="kth2024/baseline",
            # Keras adds 0.001 * w**2 to the loss, whose gradient is 0.002 * w
            changes={"optimizer.weight_decay": 0.002},
            reported=_kth2024(72.95),
        ),
        Row(
            name="augmentation",
            recipe="kth2024/baseline",
            # shifts by up to 10 % of 32 pixels
            changes={"augment.crop.padding": 3, "augment.flip": "random"},
            reported=_kth2024(82.66),
        ),
    ),
)

STUDIES = {study.name: study for study in (_KTH2024, _QUICKSTART)}


def find_study(name: str) -> Study:
    """The shipped study called ``name``, or the one in the YAML file of that path.

    Raises UserError, with the nearest shipped name, and RecipeError for a bad file.
    """
    if name in STUDIES:
        return STUDIES[name]
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return from_file(path)
    match = difflib.get_close_matches(name, STUDIES, n=1, cutoff=0.4)
    start = f"did you mean {match[0]!r}? " if match else ""
    raise UserError(
        f"no study is called {name!r}",
        f"{start}'cifarlab studies' lists all; a file's name ends in .yaml",
    )
