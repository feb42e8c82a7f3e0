"""What a part of somebody's own raises becomes two lines, wherever it is called."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cifarlab.augment.config import Augment
from cifarlab.augment.pipeline import Augmentation
from cifarlab.config.base import ROLES
from cifarlab.config.family import Family, allow_plugins
from cifarlab.config.plugins import add_plugin
from cifarlab.data.config import Data
from cifarlab.data.dataset import Subset
from cifarlab.data.loader import Loader
from cifarlab.data.opening import open_cached_data, open_dataset
from cifarlab.data.samplers import SamplerConfig
from cifarlab.data.sources import SourceConfig
from cifarlab.losses.build import build_loss
from cifarlab.losses.kinds import LossConfig
from cifarlab.metrics.kinds import MetricConfig, measure_metrics
from cifarlab.optim.averaging import AveragingConfig, build_averaging
from cifarlab.optim.optimizers import OptimizerConfig, build_optimizer
from cifarlab.system.errors import PluginError, StorageError

FILE = Path(__file__).with_name("failing_parts.py")


@pytest.fixture(autouse=True)
def _plugin_kinds(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("CIFARLAB_CACHE", str(tmp_path / "cache"))
    with allow_plugins([add_plugin(str(FILE), named_by_user=True).sha256]):
        yield


def part(family: type[Family], kind: str = "failing", **settings: Any) -> Any:
    return family.kinds()[kind](**settings)


def loader() -> Loader:
    subset = Subset(np.zeros((4, 8, 8, 1), np.uint8), np.zeros(4, np.int64), np.arange(4))
    augmentation = Augmentation(Augment(), (8, 8, 1), 0)
    cpu = torch.device("cpu")
    return Loader(subset, augmentation, (4,), 0, cpu, sampler=part(SamplerConfig))


CALLS: dict[str, Callable[[], Any]] = {
    "find": lambda: open_dataset(part(SourceConfig)),
    "find, of the cache": lambda: open_cached_data(Data(source=part(SourceConfig))),
    "identity": lambda: open_dataset(part(SourceConfig, method="code")),
    "decode": lambda: open_dataset(part(SourceConfig, method="decode")),
    "sampler": lambda: loader().order(0),
    "loss": lambda: build_loss(part(LossConfig), "ab", [1, 1], torch.device("cpu")),
    "loss of images": lambda: build_loss(
        part(LossConfig, fails_late=True), "ab", [1, 1], torch.device("cpu")
    ),
    "optimizer": lambda: build_optimizer(part(OptimizerConfig), roles()),
    "averaging": lambda: build_averaging(part(AveragingConfig), torch.nn.Linear(1, 1), 4, 8),
    "metric": lambda: measure_metrics([part(MetricConfig)], np.zeros((2, 2)), np.zeros(2)),
}


def roles() -> dict[str, list[torch.nn.Parameter]]:
    parameters: dict[str, list[torch.nn.Parameter]] = {role: [] for role in ROLES}
    return parameters | {"matrices": [torch.nn.Parameter(torch.zeros(2, 2))]}


@pytest.mark.parametrize("call", CALLS)
def test_what_an_own_part_raises_becomes_two_lines(call: str) -> None:
    line = FILE.read_text().split("\n").index('    return {}["mine"]') + 1
    with pytest.raises(PluginError) as caught:
        CALLS[call]()
    what = f"kind 'failing' fails in {FILE}, line {line}: KeyError: 'mine'"
    assert str(caught.value) == f"{what}\nmend it there"


def test_an_identity_that_is_no_json_and_a_missing_file_are_the_source_s() -> None:
    with pytest.raises(PluginError, match="fails: TypeError: Object of type"):
        open_dataset(part(SourceConfig, method="identity"))
    with pytest.raises(PluginError, match=r"line \d+: FileNotFoundError: "):
        open_dataset(part(SourceConfig, method="disk"))


def test_a_full_disk_is_no_fault_of_an_own_source(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("cifarlab.data.sources.write_arrays", full)
    with pytest.raises(StorageError, match=r"can't write .*: No space left on device"):
        open_dataset(part(SourceConfig, "writing"))
