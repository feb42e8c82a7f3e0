"""Where others may watch a run: the points at which it calls them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cifarlab.training.run import Run


class Callback:
    """Base of all callbacks: what a run calls, in this order, in its first process."""

    def on_train_start(self, run: "Run") -> None:
        """Everything is built or loaded; training is about to start or to go on."""

    def on_step_end(self, run: "Run", images: int) -> None:
        """One optimizer step on ``images`` images is queued on the device."""

    def on_validation_end(self, run: "Run") -> None:
        """An epoch is trained and validated; nothing of it is on the disk yet.

        The gradients are those of its last step.
        """

    def on_epoch_end(self, run: "Run", line: dict[str, Any]) -> None:
        """An epoch's metrics log line and checkpoint are on the disk."""

    def on_train_end(self, run: "Run", result: dict[str, Any]) -> None:
        """The result is on the disk."""
