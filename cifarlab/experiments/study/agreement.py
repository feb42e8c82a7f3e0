"""Whether our runs agree with a report's numbers.

A report's number is one run. So on the same data it is held against the interval in which a
single run of ours would lie with 95 % (a prediction interval, wider than the mean's). On a copy of
the data that was made lossy, or with a shortened training, levels differ by construction: there,
the *difference* from the baseline is held against our paired differences, in the same way.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from cifarlab.experiments.study.definition import SPLIT_NAMES, Reported
from cifarlab.stats.paired import PairedComparison, Summary, prediction_interval


class Agreement(NamedTuple):
    """``agrees`` is None where nothing can be said; ``words`` say what, or why nothing can.

    ``by`` is what of the report's number is comparable here: its level, or only its difference from
    the baseline's (``expected``, 0..1); empty where there is no number.
    """

    agrees: bool | None = None
    words: str = ""
    by: Literal["", "level", "difference"] = ""
    expected: float | None = None


class RankCorrelation(NamedTuple):
    """Kendall's tau between our order of ``n`` rows and the report's, 1 for the same, and its p."""

    tau: float
    p: float
    n: int


def agreement(
    baseline: str,
    summaries: Mapping[str, Summary],
    pairs: Mapping[str, PairedComparison | None],
    reported: Mapping[str, Reported],
    data: str,
    split: str,
    scale: float,
) -> Mapping[str, Agreement]:
    """The agreement of each row that has runs and a report's number that is ``comparable``.

    ``summaries`` are of accuracies and ``pairs`` of differences from ``baseline``, both 0..1;
    ``data``, ``split`` and ``scale`` are ours.
    """
    agreements: dict[str, Agreement] = {}
    for row, theirs in reported.items():
        if row not in summaries:
            continue
        by = comparable(theirs, data, scale)
        if by == "level":
            row_agreement = _judge(theirs.accuracy / 100, summaries[row], "{:.2f}")
        elif row == baseline or baseline not in reported:
            words = "reference of the differences" if row == baseline else "no baseline number"
            row_agreement = Agreement(words=words)
        else:
            row_agreement = _difference(theirs, reported[baseline], pairs.get(row))
        words = row_agreement.words
        if theirs.split != split:
            words += f" (theirs: {SPLIT_NAMES[theirs.split]}, ours: {SPLIT_NAMES[split]})"
        agreements[row] = row_agreement._replace(words=words, by=by)
    return agreements


def comparable(theirs: Reported, data: str, scale: float) -> Literal["", "level", "difference"]:
    """What of a report's number can be held against ours: its level, its difference, nothing."""
    if theirs.data == data:
        return "level" if scale == 1 else "difference"
    return "difference" if data.startswith(f"{theirs.data} (") else ""


def _difference(theirs: Reported, base: Reported, ours: PairedComparison | None) -> Agreement:
    expected = (theirs.accuracy - base.accuracy) / 100
    if ours is None:
        return Agreement(words="no pair with the baseline", expected=expected)
    return _judge(expected, ours.difference, "{:+.2f}")._replace(expected=expected)


def _judge(theirs: float, ours: Summary, form: str) -> Agreement:
    """A single run's number against where a single run of ours would lie."""
    interval = prediction_interval(ours)
    if interval is None:
        return Agreement(words="one run: no interval to judge by")
    if not ours.std:
        return Agreement(words="our runs do not vary: no interval to judge by")
    low, high = interval
    inside = low <= theirs <= high
    low_text, high_text, reported_text = (form.format(100 * value) for value in (low, high, theirs))
    word, relation = ("agrees", "in") if inside else ("differs", "outside")
    return Agreement(inside, f"{word}: {reported_text} is {relation} {low_text} to {high_text}")


def rank_correlation(
    ours: Mapping[str, float], theirs: Mapping[str, float]
) -> RankCorrelation | None:
    """Kendall's tau-b over the rows of ``ours``; None for fewer than two, or all alike."""
    from scipy.stats import kendalltau

    if len(ours) < 2:
        return None
    correlation = kendalltau(list(ours.values()), [theirs[row] for row in ours])
    if not -1 <= correlation.statistic <= 1:  # NaN
        return None
    return RankCorrelation(float(correlation.statistic), float(correlation.pvalue), len(ours))
