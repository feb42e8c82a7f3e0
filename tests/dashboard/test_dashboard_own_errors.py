"""What a user's own code raises is shown in a page as the error of two lines that it is."""

from pathlib import Path

import numpy as np
import pytest

from cifarlab.config.family import allow_plugins
from cifarlab.config.plugins import add_plugin
from cifarlab.dashboard import frame
from cifarlab.metrics.kinds import MetricConfig

FILE = Path(__file__).parents[1] / "moody_parts.py"


def test_it_says_file_and_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("MOODY", "metric")
    messages: list[str] = []
    monkeypatch.setattr(frame, "put", lambda content: messages.append(str(content)))
    with allow_plugins([add_plugin(str(FILE), named_by_user=True).sha256]):
        metric = MetricConfig.kinds()["moody"]()
    with frame.show_errors():
        metric.value(np.zeros((2, 2)), np.zeros(2))
    assert "a part of your own fails in" in messages[0] and "Mend it there." in messages[0]
