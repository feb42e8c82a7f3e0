"""How Ray's processors are shared out, and what is said where it does not start or answer."""

from typing import Any

import pytest
import ray

from cifarlab.experiments.search.cluster import connect_ray
from cifarlab.system.errors import CifarlabError, UserError


@pytest.mark.parametrize(
    ("processors", "jobs", "threads"),
    [
        ([16, 16], 2, 16),
        ([16, 16], 4, 8),
        ([16, 4], 2, 8),  # 10 each, their mean, would leave the small machine idle and one waiting
        ([3, 3], 3, 1),
        ([16, 0], None, 16),  # a head that trains nothing
        ([2], 8, 1),
    ],
)
def test_as_many_trials_run_at_once_as_were_asked_for(
    monkeypatch: pytest.MonkeyPatch, processors: list[int], jobs: int | None, threads: int
) -> None:
    nodes = [{"Alive": True, "Resources": {"CPU": float(there)}} for there in processors]
    nodes.append({"Alive": False, "Resources": {"CPU": 64.0}})
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    with connect_ray(jobs, None) as resources:
        assert resources.jobs == (jobs or 1) and resources.threads == threads


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def init(**_: Any) -> None:
        raise error

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)


def test_ray_that_does_not_start_is_an_error_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, Exception("The current node timed out during startup."))
    with pytest.raises(CifarlabError, match=r"did not start.*timed out"), connect_ray(1, None):
        pass


@pytest.mark.parametrize("error", [ConnectionError("nobody"), Exception("odd"), SystemExit(15)])
def test_a_cluster_that_does_not_answer_is_the_user_s_mistake(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    failing(monkeypatch, error)
    with pytest.raises(UserError, match="--cluster one:1: no Ray cluster"), connect_ray(1, "one:1"):
        pass
