"""What is claimed, and what came of it: the values that the record book keeps."""

from typing import Any, Literal

from pydantic import Field

from cifarlab.run_folder.schemas import FORMAT, Count, StoredModel

Goal = Literal["accuracy", "time-to-accuracy"]
VerdictWord = Literal["accepted", "rejected", "undecided"]
EXIT_CODES: dict[str, int] = {"accepted": 0, "rejected": 3, "undecided": 4}
INCUMBENT, CANDIDATE = "incumbent", "candidate"


class Score(StoredModel):
    """What one run reached: accuracy from 0 to 1, seconds of training."""

    accuracy: float
    seconds: float


class Lap(StoredModel):
    """The runs of one seed, by side: ``incumbent`` and ``candidate``.

    ``is_identical``: their predictions are the same to the last bit. ``obstacle`` says why their
    seconds can't be compared.
    """

    seed: Count
    scores: dict[str, Score]
    is_identical: bool = False
    obstacle: str = ""


class Decision(StoredModel):
    """A verdict with its reason in words, and the p values on which it stands."""

    verdict: VerdictWord = "undecided"
    reason: str = ""
    p: dict[str, float] = Field({})


class BookEvent(StoredModel):
    """A line of the record book; ``number`` counts claims and checks from 1."""

    format: Count = FORMAT
    number: Count
    name: str
    time: str


class RaceEvent(BookEvent):
    """A race that was begun; its runs have seeds from ``first_seed``."""

    first_seed: Count
    most: Count
    folder: str
    command: str


class Claim(RaceEvent):
    """The candidate is better than the incumbent; tested at ``level``.

    ``recipes`` are YAML by side, fingerprints those without the seed; ``margin`` is in points.
    """

    event: Literal["claim"] = "claim"
    candidate: str
    incumbent: str
    recipes: dict[str, str]
    candidate_fingerprint: str
    incumbent_fingerprint: str
    goal: Goal
    margin: float
    level: float


class Check(RaceEvent):
    """A record is run again, with other seeds."""

    event: Literal["check"] = "check"
    record: str


class Evidence(StoredModel):
    """What a verdict stands on.

    ``difference`` in accuracy (0 to 1) and, where time is judged, ``speedup`` (the incumbent's
    seconds over the candidate's, geometric mean) have 95 % intervals that hold at the moment of
    stopping. ``wear`` says how many other recipes were judged on the same test images before.
    """

    data: str = ""
    split: str = ""
    laps: list[Lap] = Field([])
    p: dict[str, float] = Field({})
    difference: float | None = None
    difference_interval: list[float] | None = None
    speedup: float | None = None
    speedup_interval: list[float] | None = None
    environment: dict[str, Any] = Field({})
    wear: str = ""


class VerdictEvent(BookEvent):
    """The end of a race; it may go on, under the same plan, where ``is_closed`` is false."""

    event: Literal["verdict"] = "verdict"
    verdict: VerdictWord
    reason: str
    is_closed: bool
    evidence: Evidence
