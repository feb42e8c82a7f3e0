"""The judge on real races of a shortened speed/94, whose outcome is known beforehand.

    CIFARLAB_DATA=DATA python benchmarks/judging.py [--steps 50] [--most 10] [KEY=VALUE ...]

A run takes about 12 s on two cores. Seconds count: keep the machine free of other work. Each race
has an expected exit code; where another one comes out, the program's own is 1, and the result is
written all the same.
"""

import argparse
import sys
import tempfile
from typing import Any, NamedTuple

from _results import write_result

import cifarlab as lab
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import apply_overrides

SIDES = ("candidate", "incumbent")
SHORT: dict[str, Any] = {
    "data.train_subset_fraction": 0.2,
    "data.source": "cifar10",
    "evaluation.test": False,  # a judge that is tried must not wear out the test images
    "evaluation.tta_views": 1,
    "evaluation.tta_threshold": None,
}


class KnownRace(NamedTuple):
    """A candidate and an incumbent, by their changes, and the exit code that is expected.

    ``steps`` are fractions of the shortened recipe's, of the candidate and of the incumbent.
    """

    expected: int
    goal: str
    steps: tuple[float, float] = (1.0, 1.0)
    changes: dict[str, Any] | None = None
    margin: float = 0.2


RACES = {
    "slower: 10 % more steps": KnownRace(3, "time-to-accuracy", (1.1, 1.0), margin=5.0),
    "faster: against 10 % more steps": KnownRace(0, "time-to-accuracy", (1.0, 1.1), margin=5.0),
    "faster and worse: half the steps": KnownRace(3, "time-to-accuracy", (0.5, 1.0)),
    "nothing changed: another metric is reported": KnownRace(
        3, "accuracy", changes={"evaluation.metric": "macro_f1"}
    ),
}


def judge(known: KnownRace, base: Recipe, n_steps: int, most: int, runs: str) -> dict[str, Any]:
    """Return what came of a race: exit code, verdict, pairs, seconds, intervals."""
    candidate, incumbent = (
        lab.find_recipe(base, {"training.duration": f"{round(part * n_steps)} steps"})
        for part in known.steps
    )
    options = {"goal": known.goal, "margin": known.margin, "most": most, "runs": runs}
    tree = lab.judge(candidate, incumbent, known.changes, **options).json
    evidence = tree["evidence"]
    scores = [lap["scores"] for lap in evidence["laps"]]
    kept = ("exit_code", "verdict", "reason", "goal", "margin", "level")
    measured = ("difference", "difference_interval", "speedup", "speedup_interval", "p")
    return {
        "expected": known.expected,
        **{key: tree[key] for key in kept},
        "pairs": len(scores),
        **{key: evidence[key] for key in measured},
        **{
            name: {side: [pair[side][name] for pair in scores] for side in SIDES}
            for name in ("seconds", "accuracy")
        },
    }


def main() -> None:
    """Race, print, write the result; exit 1 where an outcome is not the expected one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("changes", nargs="*", help="key=value changes of the recipe")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--most", type=int, default=10)
    options = parser.parse_args()
    base = apply_overrides(lab.find_recipe("speed/94", SHORT), options.changes)
    races = {}
    with tempfile.TemporaryDirectory() as runs:
        for name, known in RACES.items():
            print(name, flush=True)
            races[name] = judge(known, base, options.steps, options.most, runs)
            print(f"{races[name]['verdict']}: {races[name]['reason']}", flush=True)
    payload = {"recipe": "speed/94", "changes": [SHORT, *options.changes], "steps": options.steps}
    print(write_result("judging-speed-94", "cpu", payload | {"races": races}))
    wrong = [name for name, race in races.items() if race["exit_code"] != race["expected"]]
    if wrong:
        sys.exit("not as expected: " + "; ".join(wrong))


if __name__ == "__main__":
    main()
