"""Classes that belong together: animals against vehicles (asha2021), CIFAR-100's superclasses."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from cifarlab.recipes.text import read_yaml
from cifarlab.stats.intervals import wilson_interval
from cifarlab.system.errors import RecipeError

Groups = Mapping[str, Sequence[str]]


def known_groups(classes: Sequence[str]) -> Groups | None:
    """Return the groups that cifarlab knows for exactly these classes, or None."""
    groupings: list[Groups] = read_yaml(Path(__file__).with_name("class_groups.yaml"), "groups")
    matches = (groups for groups in groupings if set(chain(*groups.values())) == set(classes))
    return next(matches, None)


def read_groups(path: Path, classes: Sequence[str]) -> Groups:
    """Read groups from a YAML file: ``group: [class, ...]``; a class may be in none.

    Raises:
        RecipeError: the file is written otherwise, or has an unknown class or one in two groups
    """
    tree = read_yaml(path, "groups")
    lists = tree.values() if isinstance(tree, dict) else [None]
    if not (lists and all(isinstance(members, list) and members for members in lists)):
        raise RecipeError(f"{path} holds no groups", "write 'group: [class, class]' on each line")
    groups = {str(name): tuple(map(str, members)) for name, members in tree.items()}
    counts = Counter(chain(*groups.values()))
    if unknown := sorted(counts.keys() - set(classes)):
        what = f"{path} names {unknown[0]!r}, which is no class of this run"
        raise RecipeError(what, f"its classes are {', '.join(classes)}")
    if repeated := [name for name, count in counts.items() if count > 1]:
        raise RecipeError(f"{path} has {repeated[0]!r} twice", "a class is in one group at most")
    return groups


def proportion(correct: int, n: int) -> dict[str, Any]:
    """Return ``n``, ``correct``, ``accuracy``, ``interval``; the last two are None where n is 0."""
    return {
        "n": n,
        "correct": correct,
        "accuracy": correct / n if n else None,
        "interval": wilson_interval(correct, n) if n else None,
    }


def accuracy_by_group(
    confusion_matrix: np.ndarray, classes: Sequence[str], groups: Groups
) -> list[dict[str, Any]]:
    """Return a row for each group.

    Args:
        confusion_matrix: int (K, K), rows true, columns predicted
        classes: the K class names
        groups: class names by group

    Returns:
        Rows of ``group``, ``classes``, ``n``, ``correct``, ``accuracy``, ``interval``, and
        ``coarse_accuracy``, the fraction of the group's images that were taken for any class of
        the group. The last three are None for a group without images.
    """
    rows = []
    for name, members in groups.items():
        indices = [list(classes).index(member) for member in members]
        group_rows = confusion_matrix[indices]
        n, n_in_group = int(group_rows.sum()), int(group_rows[:, indices].sum())
        rows.append(
            {
                "group": name,
                "classes": list(members),
                **proportion(int(confusion_matrix[indices, indices].sum()), n),
                "coarse_accuracy": n_in_group / n if n else None,
            }
        )
    return rows
