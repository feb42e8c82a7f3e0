"""Classes that belong together: animals against vehicles (asha2021), CIFAR-100's superclasses."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cifarlab.recipes.text import read_yaml
from cifarlab.stats.intervals import wilson_interval
from cifarlab.system.errors import RecipeError

Groups = Mapping[str, Sequence[str]]

CIFAR10: Groups = {
    "animals": ("bird", "cat", "deer", "dog", "frog", "horse"),
    "vehicles": ("airplane", "automobile", "ship", "truck"),
}
# Krizhevsky 2009, section 3.1
CIFAR100: Groups = {
    name: tuple(classes.split())
    for name, classes in {
        "aquatic mammals": "beaver dolphin otter seal whale",
        "fish": "aquarium_fish flatfish ray shark trout",
        "flowers": "orchid poppy rose sunflower tulip",
        "food containers": "bottle bowl can cup plate",
        "fruit and vegetables": "apple mushroom orange pear sweet_pepper",
        "household electrical devices": "clock keyboard lamp telephone television",
        "household furniture": "bed chair couch table wardrobe",
        "insects": "bee beetle butterfly caterpillar cockroach",
        "large carnivores": "bear leopard lion tiger wolf",
        "large man-made outdoor things": "bridge castle house road skyscraper",
        "large natural outdoor scenes": "cloud forest mountain plain sea",
        "large omnivores and herbivores": "camel cattle chimpanzee elephant kangaroo",
        "medium-sized mammals": "fox porcupine possum raccoon skunk",
        "non-insect invertebrates": "crab lobster snail spider worm",
        "people": "baby boy girl man woman",
        "reptiles": "crocodile dinosaur lizard snake turtle",
        "small mammals": "hamster mouse rabbit shrew squirrel",
        "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
        "vehicles 1": "bicycle bus motorcycle pickup_truck train",
        "vehicles 2": "lawn_mower rocket streetcar tank tractor",
    }.items()
}


def known_groups(classes: Sequence[str]) -> Groups | None:
    """Return the known groups of just these classes, None where there are none."""
    for groups in (CIFAR10, CIFAR100):
        if {name for members in groups.values() for name in members} == set(classes):
            return groups
    return None


def read_groups(path: Path, classes: Sequence[str]) -> Groups:
    """Read groups from a YAML file: ``group: [class, ...]``; a class may be in none.

    Raises RecipeError for a file that is not so, an unknown class or one in two groups.
    """
    tree = read_yaml(path, "groups")
    if not (
        isinstance(tree, dict)
        and tree
        and all(isinstance(members, list) and members for members in tree.values())
    ):
        raise RecipeError(f"{path} holds no groups", "write 'group: [class, class]' on each line")
    groups = {str(name): tuple(map(str, members)) for name, members in tree.items()}
    all_members = [member for members in groups.values() for member in members]
    if unknown := sorted(set(all_members) - set(classes)):
        raise RecipeError(
            f"{path} names {unknown[0]!r}, which is no class of this run",
            f"its classes are {', '.join(classes)}",
        )
    if len(set(all_members)) < len(all_members):
        repeated = next(name for name in all_members if all_members.count(name) > 1)
        raise RecipeError(f"{path} has {repeated!r} twice", "a class is in one group at most")
    return groups


def accuracy_by_group(
    confusion_matrix: np.ndarray, classes: Sequence[str], groups: Groups
) -> list[dict[str, Any]]:
    """Per group ``group``, ``classes``, ``n``, ``correct``, ``accuracy``, ``interval``, ``inside``.

    ``confusion_matrix`` is int (K, K), rows true. ``inside`` is the fraction of its images that
    were taken for any class of the group; fractions of a group without images are null.
    """
    rows = []
    for name, members in groups.items():
        indices = [list(classes).index(member) for member in members]
        group_rows = confusion_matrix[indices]
        n, correct = int(group_rows.sum()), int(confusion_matrix[indices, indices].sum())
        rows.append(
            {
                "group": name,
                "classes": list(members),
                "n": n,
                "correct": correct,
                "accuracy": correct / n if n else None,
                "interval": wilson_interval(correct, n) if n else None,
                "inside": int(group_rows[:, indices].sum()) / n if n else None,
            }
        )
    return rows
