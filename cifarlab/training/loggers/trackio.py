"""trackio: a run of a project in its local database.

``trackio.init`` asks Hugging Face for the user's name, and its ``log`` hides failures behind a
thread, so the database is written with the functions that both end in.
"""

from collections.abc import Sequence
from io import BytesIO
from typing import Any

from PIL import Image

from cifarlab.training.loggers.base import Figure, Logger, RunEnd


class TrackioLogger(Logger):
    """The callback that writes trackio's database (``TRACKIO_DIR`` says where)."""

    kind = "trackio"

    def __init__(self, project: str = "cifarlab") -> None:
        super().__init__()
        self._project = project
        self._epoch = 0

    def open(self) -> int:
        """Return the last epoch that the database has of this run."""
        from trackio.sqlite_storage import SQLiteStorage

        SQLiteStorage.validate_project_name(self._project)
        return SQLiteStorage.get_last_step(self._project, run_id=self.logged_run.id) or 0

    def log_epoch(self, epoch: int, values: dict[str, float]) -> None:
        """Add a row for the epoch."""
        self._epoch = epoch
        self._add_row(epoch, f"epoch-{epoch}", values)

    def log_result(self, epoch: int, values: dict[str, float]) -> None:
        """Add a row for the result."""
        self._add_row(epoch, "result", values)

    def log_figures(self, figures: Sequence[Figure]) -> None:
        """Add a row with the figures."""
        import trackio

        row = {}
        for figure in figures:
            image = trackio.Image(Image.open(BytesIO(figure.png)), caption=figure.alt)
            image._save(self._project, self.logged_run.name, self._epoch)
            row[f"figures/{figure.kind}"] = image._to_dict()
        self._add_row(self._epoch, "figures", row)

    def close(self, end: RunEnd) -> None:
        """Do nothing: each row is in the database."""

    def _add_row(self, step: int, name: str, values: dict[str, Any]) -> None:
        """Add a row, unless the database has one of that name."""
        from trackio.sqlite_storage import SQLiteStorage

        run = self.logged_run
        config = run.settings | {"run_folder": str(run.folder.path.resolve())}
        SQLiteStorage.bulk_log(
            self._project,
            run.name,
            [values],
            [step],
            config=config | {"_Group": run.group or None},
            log_ids=[f"{run.id}-{name}"],
            run_id=run.id,
        )
