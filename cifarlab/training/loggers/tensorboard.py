"""TensorBoard: an event file in the run folder's ``tensorboard/``."""

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from cifarlab.training.loggers.base import Figure, Logger, RunEnd

_SUFFIX = ".cifarlab"  # of our event files; others in the folder are a user's


class TensorBoardLogger(Logger):
    """The callback that writes event files. Each start writes all epochs into a new one."""

    kind = "tensorboard"

    def __init__(self) -> None:
        super().__init__()
        self._writer: Any = None
        self._epoch = 0

    def open(self) -> int:
        """Replace the event file of an earlier start; log the settings."""
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        run = self.logged_run
        folder = run.folder.path / "tensorboard"
        for file in folder.glob(f"events.out.tfevents.*{_SUFFIX}"):
            file.unlink()
        # a TensorBoard that is open forgets the earlier file's steps, too
        self._writer = SummaryWriter(str(folder), purge_step=0, filename_suffix=_SUFFIX)
        settings = {key: _to_scalar(value) for key, value in run.settings.items()}
        metrics = dict.fromkeys(("val/accuracy", "val/loss", "result/test/accuracy"))
        for summary in hparams(settings, metrics)[:2]:
            self._writer.file_writer.add_summary(summary)
        self._writer.add_text("recipe", _as_code(run.folder.recipe_file.read_text("utf-8")))
        self._writer.add_text("run folder", _as_code(str(run.folder.path.resolve())))
        return 0

    def log_epoch(self, epoch: int, values: dict[str, float]) -> None:
        """Add a scalar for each number."""
        self._epoch = epoch
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def log_result(self, epoch: int, values: dict[str, float]) -> None:
        """Add the numbers as scalars, and the whole result as text."""
        self.log_epoch(epoch, values)
        result = self.logged_run.folder.result_file.read_text("utf-8")
        self._writer.add_text("result", _as_code(result), epoch)

    def log_figures(self, figures: Sequence[Figure]) -> None:
        """Add the figures as images."""
        for figure in figures:
            pixels = np.asarray(Image.open(BytesIO(figure.png)).convert("RGB"))
            self._writer.add_image(f"figures/{figure.kind}", pixels, self._epoch, dataformats="HWC")
        self._writer.flush()

    def close(self, end: RunEnd) -> None:
        """Close the event file."""
        if self._writer:
            self._writer.close()


def _to_scalar(value: Any) -> bool | float | str:
    return value if isinstance(value, bool | int | float | str) else str(value)


def _as_code(text: str) -> str:
    """Return a text as TensorBoard's Markdown shows it unchanged."""
    return "\n".join(f"    {line}" for line in text.splitlines())
