"""Weights & Biases: offline files in the run folder's ``wandb/``, for ``wandb sync``."""

import os
import shutil
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, cast

from PIL import Image

from cifarlab.training.loggers.base import Figure, Logger, RunEnd

if TYPE_CHECKING:
    import wandb


class WandbLogger(Logger):
    """The callback that logs to Weights & Biases, offline unless WANDB_MODE says otherwise.

    Offline, each start writes all epochs into a new folder, which replaces that of an earlier one.
    """

    kind = "wandb"
    environment = {"WANDB_ERROR_REPORTING": "false"}  # noqa: RUF012

    def __init__(self, project: str = "") -> None:
        super().__init__()
        self._project = project
        self._run: wandb.Run | None = None

    def open(self) -> int:
        """Start the logged run, or continue it where W&B's server has it."""
        import wandb

        run = self.logged_run
        mode, path = os.environ.get("WANDB_MODE", "offline"), run.folder.path.resolve()
        earlier = list(path.glob(f"wandb/offline-run-*-{run.id}"))
        # nothing about the machine, the code or what is printed
        settings = wandb.Settings(
            silent=True,
            console="off",
            disable_code=True,
            disable_git=True,
            x_disable_stats=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
        )
        self._run = wandb.init(
            id=run.id,
            project=self._project or os.environ.get("WANDB_PROJECT") or "cifarlab",
            name=run.name,
            group=run.group or None,
            config=run.settings | {"run_folder": str(path)},
            dir=str(path),
            mode=cast(Any, mode),
            resume=None if mode == "offline" else "allow",
            reinit="create_new",
            settings=settings,
        )
        for folder in earlier:
            shutil.rmtree(folder)
        return max(int(self._run.step) - 1, 0)

    def log_epoch(self, epoch: int, values: dict[str, float]) -> None:
        """Log the numbers; the step is the epoch."""
        assert self._run
        self._run.log(values, step=epoch, commit=True)

    def log_result(self, epoch: int, values: dict[str, float]) -> None:
        """Put the numbers into the summary."""
        assert self._run
        self._run.summary.update(values)

    def log_figures(self, figures: Sequence[Figure]) -> None:
        """Log the figures as images, with what they show."""
        import wandb

        assert self._run
        images = {f.kind: wandb.Image(Image.open(BytesIO(f.png)), caption=f.alt) for f in figures}
        self._run.log({f"figures/{kind}": image for kind, image in images.items()})

    def close(self, end: RunEnd) -> None:
        """Wait until everything is on the disk, or was sent."""
        if self._run:
            self._run.finish(exit_code=0 if end == "finished" else 1)
