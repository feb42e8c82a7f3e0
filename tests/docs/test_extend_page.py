"""docs/extend.md names what a part of one's own must and may say, as the base classes have it."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cifarlab
from cifarlab.config.family import Family
from cifarlab.models.staged import StagedNetwork
from cifarlab.models.whitening import Whitening
from cifarlab.optim.averaging import Averager

PAGE = (Path(__file__).parents[2] / "docs" / "extend.md").read_text(encoding="utf-8")
ENTRY = re.compile(r"`(\w+)(?:\((.*?)\)| = (.*?))?`")
OTHERS = {"any": Family, "network": StagedNetwork, "layer": Whitening, "Averager": Averager}
# what the bases do with what a part says
OUR_OWN = {
    "ScheduleConfig": "factors_from is_constant planned_factor progress_at update_state",
    "OptimizerConfig": "param_groups",
    "MetricConfig": "facts is_better name",
    "SourceConfig": "as_text",
    "ArraySourceConfig": "decode",
}


def rows(heading: str, column: int) -> Iterator[tuple[str, str, str, str]]:
    """Owner, name, arguments and value of each row of the table below a heading."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    owner = ""
    for line in re.findall(r"^\| (?!base|part).*$", section, re.MULTILINE):
        cells = line.split("|")
        owner = cells[1].strip(" `") or owner
        entry = ENTRY.match(cells[column].strip())
        assert entry, line
        name, arguments, value = (text or "" for text in entry.groups())
        yield owner, name, arguments, value


MUST = list(rows("What can be yours", 3))
MAY = list(rows("What a part may also say", 2))
BASES = [base for base, *_ in MUST]


def base_of(owner: str) -> Any:
    return OTHERS.get(owner) or getattr(cifarlab, owner)


@pytest.mark.parametrize(("owner", "name", "arguments", "value"), [*MUST, *MAY], ids=str)
def test_an_entry_is_as_its_base_has_it(owner: str, name: str, arguments: str, value: str) -> None:
    attribute: Any = inspect.getattr_static(base_of(owner), name)
    if inspect.isfunction(attribute):
        parameters = inspect.signature(attribute).parameters
        assert list(parameters) == ["self", *re.findall(r"\w+", arguments)]
        return
    assert not arguments
    if value:
        assert attribute == ast.literal_eval(value)
    elif name in ("memory_format", "parameter_roles", "decoupling_advice", "decay_advice"):
        assert attribute
    else:
        assert isinstance(attribute, property)


@pytest.mark.parametrize("base", BASES)
def test_what_a_part_must_say_is_abstract(base: str) -> None:
    assert base_of(base).__abstractmethods__ == {name for b, name, *_ in MUST if b == base}


@pytest.mark.parametrize("base", BASES)
def test_no_method_or_attribute_is_left_out(base: str) -> None:
    owner = base_of(base)
    public = {n for n in vars(owner) if not (n.startswith(("_", "model_")) or hasattr(Family, n))}
    documented = {name for of_base, name, *_ in (*MUST, *MAY) if of_base == base}
    assert public == documented | set(OUR_OWN.get(base, "").split())


def test_every_base_can_be_imported_and_is_in_the_table() -> None:
    assert set(BASES) == {n for n in dir(cifarlab) if n.endswith("Config")}
