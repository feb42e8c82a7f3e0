"""MLflow: a run of an experiment, on a tracking server or in a database."""

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cifarlab.training.loggers.base import Figure, Logger, RunEnd

_ID = "cifarlab.id"
_STATUS = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
_MAX_PARAMS = 100  # of a request
_KIND = {"mlflow.experimentKind": "custom_model_development"}  # shown as training, not as GenAI


class MLflowLogger(Logger):
    """The callback that logs to MLflow.

    Args:
        tracking_uri: the server or database; empty: as MLflow finds it
        experiment: its name; empty: MLFLOW_EXPERIMENT_NAME, else the study's or search's, else
            ``cifarlab``
    """

    kind = "mlflow"
    # no usage statistics, nothing printed between our lines; a server that is away is given up in
    # seconds and not in minutes
    environment = {  # noqa: RUF012
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    }

    def __init__(self, tracking_uri: str = "", experiment: str = "") -> None:
        super().__init__()
        self._uri, self._experiment = tracking_uri, experiment
        self._client: Any = None
        self._run_id = ""

    @property
    def server(self) -> str:
        """Return the address of the tracking server; empty: it is a database."""
        uri = self._uri or os.environ.get("MLFLOW_TRACKING_URI", "")
        return uri if uri.startswith("http") else ""

    def open(self) -> int:
        """Find the run by its tag, or create it; log the settings."""
        from mlflow import MlflowClient
        from mlflow.entities import Param

        run = self.logged_run
        self._client = MlflowClient(self._uri or None)
        name = self._experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or run.group
        experiment = self._find_experiment(name or "cifarlab")
        runs = self._client.search_runs([experiment], f"tags.`{_ID}` = '{run.id}'", max_results=1)
        tags = {_ID: run.id, "cifarlab.group": run.group}
        logged = runs[0] if runs else self._client.create_run(experiment, None, tags, run.name)
        self._run_id = logged.info.run_id
        self._client.update_run(self._run_id, status="RUNNING")
        self._client.set_tag(self._run_id, "cifarlab.run_folder", str(run.folder.path.resolve()))
        params = [Param(key, str(value)) for key, value in run.settings.items()]
        for first in range(0, len(params), _MAX_PARAMS):
            self._client.log_batch(self._run_id, params=params[first : first + _MAX_PARAMS])
        return int(logged.data.metrics.get("epoch", 0))

    def log_epoch(self, epoch: int, values: dict[str, float]) -> None:
        """Log all numbers in one request, of which ``epoch`` says later that it arrived."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(name, value, now, epoch) for name, value in values.items()]
        self._client.log_batch(self._run_id, metrics=metrics)

    def log_result(self, epoch: int, values: dict[str, float]) -> None:
        """Log the numbers, and the files of recipe and result as artifacts."""
        self.log_epoch(epoch, values)
        folder = self.logged_run.folder
        for file in (folder.recipe_file, folder.result_file):
            self._client.log_artifact(self._run_id, str(file))

    def log_figures(self, figures: Sequence[Figure]) -> None:
        """Log the figures as artifacts."""
        with tempfile.TemporaryDirectory() as folder:
            for figure in figures:
                (Path(folder) / f"{figure.kind}.png").write_bytes(figure.png)
            self._client.log_artifacts(self._run_id, folder, "figures")

    def close(self, end: RunEnd) -> None:
        """Give the run its status."""
        if self._run_id:
            self._client.set_terminated(self._run_id, _STATUS[end])

    def _find_experiment(self, name: str) -> str:
        """Return the id of an experiment, which another process may be creating, too."""
        from mlflow.exceptions import MlflowException

        if experiment := self._client.get_experiment_by_name(name):
            return str(experiment.experiment_id)
        try:
            return str(self._client.create_experiment(name, tags=_KIND))
        except MlflowException:
            if experiment := self._client.get_experiment_by_name(name):
                return str(experiment.experiment_id)
            raise
