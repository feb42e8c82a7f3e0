"""The base class of callbacks: the points of a run at which they are called."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cifarlab.training.run import Run


class Callback:
    """Base of all callbacks. A run calls these methods, in this order, in its main process."""

    def on_train_start(self, run: "Run") -> None:
        """Act when everything is built or loaded, before training starts or goes on."""

    def on_step_end(self, run: "Run", images: int) -> None:
        """Act when an optimizer step on ``images`` images is queued on the device."""

    def on_validation_end(self, run: "Run") -> None:
        """Act when an epoch is trained and validated, before anything of it is on the disk.

        The gradients are those of the epoch's last step.
        """

    def on_epoch_end(self, run: "Run", line: dict[str, Any]) -> None:
        """Act when an epoch's checkpoint and its ``line`` of the metrics log are on the disk."""

    def on_train_end(self, run: "Run", result: dict[str, Any]) -> None:
        """Act when the ``result`` is on the disk."""

    def teardown(self, run: "Run") -> None:
        """Release what is held; called last, of an interrupted or failed run, too."""
