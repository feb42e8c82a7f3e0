"""Environments that have what a wheel requires of the tests' own libraries, and nothing else.

Nothing needs a network: libraries are linked, not installed.
"""

import re
import zipfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement


def required(wheel: Path) -> list[str]:
    """What a wheel requires."""
    folder = wheel.name.partition("-py3")[0]
    content = zipfile.ZipFile(wheel).read(f"{folder}.dist-info/METADATA").decode()
    return re.findall(r"^Requires-Dist: (.*)$", content, re.MULTILINE)


def requirements(lines: Iterable[str], *extras: str) -> set[str]:
    """The distributions of this environment that these lines need, with extras of theirs."""
    waiting, seen = [(line, extras) for line in lines], set()
    while waiting:
        line, wanted = waiting.pop()
        requirement = Requirement(line)
        name, marker = requirement.name.lower(), requirement.marker
        is_needed = not marker or any(marker.evaluate({"extra": each}) for each in ("", *wanted))
        if is_needed and (name, *sorted(requirement.extras)) not in seen:
            seen.add((name, *sorted(requirement.extras)))
            further = metadata.requires(name) or []
            waiting += [(each, tuple(requirement.extras)) for each in further]
    return {name for name, *_ in seen}


def link(distribution: str, packages: Path) -> None:
    """Let an environment have a distribution of this one."""
    for file in metadata.files(distribution) or []:
        top, target = file.parts[0], packages / file.parts[0]
        if top not in ("..", "__pycache__") and not target.exists():
            target.symlink_to(Path(str(metadata.distribution(distribution).locate_file(top))))
