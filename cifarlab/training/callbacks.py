"""Where others may watch a run. A hook sees; it changes neither the batch nor the state."""

from typing import Any, Protocol

from cifarlab.training.run import Run


class Hook(Protocol):
    """The points at which a run calls its hooks, in this order."""

    def started(self, run: Run) -> None:
        """Everything is built or loaded; training is about to start or to go on."""

    def stepped(self, run: Run, images: int) -> None:
        """One optimizer step on ``images`` images is queued on the device."""

    def validated(self, run: Run) -> None:
        """An epoch is trained and validated; nothing of it is on the disk yet.

        The gradients are those of its last step.
        """

    def epoch_ended(self, run: Run, line: dict[str, Any]) -> None:
        """An epoch's metrics log line and checkpoint are on the disk."""

    def finished(self, run: Run, result: dict[str, Any]) -> None:
        """The result is on the disk."""
