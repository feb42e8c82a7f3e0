"""The training loop: top to bottom in the order in which things happen."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from cifarlab.evaluation.measure import Score, score
from cifarlab.system.errors import DivergenceError, Interrupted
from cifarlab.system.signals import Stop
from cifarlab.training.callbacks import Callback
from cifarlab.training.run import Run
from cifarlab.training.state import NEVER, Best, State, Totals
from cifarlab.training.step import step
from cifarlab.training.stop import find_stop_reason, out_of_time


def fit(run: Run, callbacks: Sequence[Callback], stop: Stop) -> None:
    """Train from the run's state to its end: metrics log and checkpoints on the way.

    ``training.max_time`` may end an epoch early; it is the last one then. Raises DivergenceError
    (the last good checkpoint stays), Interrupted (after a checkpoint), StorageError.
    """
    state, seconds = run.state, run.clock.seconds
    for epoch in run.plan.epochs[state.epoch :]:
        if run.processes.broadcast_from_rank0(lambda: find_stop_reason(run)) != "planned":
            break
        first, segment = run.plan.segment(epoch.first)
        if state.step == first:
            state.schedule = state.schedule.start_segment(segment.mode)

        # train
        state.classifier.train()
        seconds_before, n_examples, signum = dict(seconds), 0, 0
        with run.clock.running("train"):
            for batch in run.loader.epoch(state.epoch, state.step - epoch.first, epoch.steps):
                state.totals.add(*step(run, batch), state.step)
                state.step += 1
                n_examples += batch.global_size
                if run.compute.device.type == "cpu":  # free here; a GPU would have to wait
                    require_finite_losses(run)
                for callback in callbacks:
                    callback.on_step_end(run, batch.global_size)
                late = run.processes.is_main_process and out_of_time(
                    run
                )  # one clock decides for all
                signum, timed_out = run.processes.all_reduce_max(stop.signum, late)
                if signum or timed_out:
                    break
        require_finite_losses(run)
        if signum and state.step < epoch.first + epoch.steps:
            require_finite_network(run, None)
            run.checkpoints.save_last(state, run.about)
            raise interruption(run, signum)

        # validate
        with run.clock.running("evaluate"):
            val = validate(run)
        require_finite_network(run, val)
        state.epoch += 1
        for callback in callbacks:
            callback.on_validation_end(run)

        # write down: the metrics log first, since resume drops the lines ahead of its checkpoint
        line = epoch_metrics(
            run,
            val,
            {name: seconds[name] - seconds_before[name] for name in seconds_before},
            n_examples,
        )
        run.processes.broadcast_from_rank0(partial(run.folder.metrics.append, line))
        state.totals = Totals.zero(state.device)
        if val and segment.mode != "hold":
            state.schedule = run.recipe.schedule.after_epoch(state.schedule, val.loss)
        improved = update_best(state, val)
        run.checkpoints.save_last(state, run.about)
        if improved:  # in this order: after a kill in between, resume makes best of last
            run.checkpoints.save_best(state, run.about)
        for callback in callbacks:
            callback.on_epoch_end(run, line)
        (signum,) = run.processes.all_reduce_max(stop.signum)
        if signum:
            raise interruption(run, signum)


def lr_at(run: Run, step: int) -> float:
    """Return the learning rate of that step, counted from 0."""
    return run.recipe.optimizer.lr * run.lr_factor(step)


def validate(run: Run) -> Score | None:
    """Return accuracy and loss on what is held out; None where nothing is."""
    if run.validation is None:
        return None
    indices, processes = run.validation.indices, run.processes
    logits = run.predictor.logits(run.validation.images, 1, indices[processes.shard(len(indices))])
    labels = run.validation.labels[indices]
    return score(processes.all_gather(logits, len(indices)), torch.from_numpy(labels))


def update_best(state: State, val: Score | None) -> bool:
    """Record the epoch that just ended as the best so far, where it is, and say whether it is."""
    if val is None or (state.best and val.accuracy <= state.best.val_accuracy):
        return False
    state.best = Best(state.epoch, val.accuracy, "")
    return True


def epoch_metrics(
    run: Run, val: Score | None, seconds: dict[str, float], images: int
) -> dict[str, Any]:
    """The journal line of the epoch that just ended, in ``seconds`` for ``images`` of it."""
    state, totals = run.state, run.state.totals
    return {
        "epoch": state.epoch,
        "step": state.step,
        "lr": lr_at(run, state.step - 1),
        "train": {
            "accuracy": int(totals.correct) / totals.seen,
            "loss": float(totals.loss) / totals.seen,
        },
        "val": val._asdict() if val else None,
        "cost": {
            "train_seconds": seconds["train"],
            "evaluate_seconds": seconds["evaluate"],
            "images_per_second": images / seconds["train"] if seconds["train"] else None,
        },
    }


def require_finite_losses(run: Run) -> None:
    """Raise DivergenceError that names the first step of this epoch with a NaN or infinite loss."""
    bad_step = int(run.state.totals.bad_step)
    if bad_step != NEVER:
        raise divergence_error(run, "the training loss became NaN or infinite", bad_step)


def require_finite_network(run: Run, val: Score | None) -> None:
    """Raise DivergenceError if the epoch's last update spoilt the weights, before a save."""
    tensors = run.state.classifier.state_dict().values()
    weights = sum(t.double().sum() for t in tensors if t.is_floating_point())
    if not (math.isfinite(weights) and (val is None or math.isfinite(val.loss))):
        raise divergence_error(
            run, "the network's weights or outputs became NaN", run.state.step - 1
        )


def divergence_error(run: Run, what: str, step: int) -> DivergenceError:
    """Return the error of a run that can't go on, with what to change."""
    epoch = run.state.epoch
    return DivergenceError(
        f"{what} at step {step} (epoch {epoch + 1}), at learning rate {lr_at(run, step):.4g}",
        f"lower optimizer.lr, lengthen schedule.warmup or set training.clip_grad_norm; "
        f"the checkpoint of epoch {epoch} is kept"
        if epoch
        else "lower optimizer.lr, lengthen schedule.warmup or set training.clip_grad_norm",
    )


def interruption(run: Run, signum: int) -> Interrupted:
    """Return what a run that was asked to stop says after its checkpoint."""
    return Interrupted(
        f"interrupted after step {run.state.step} of {run.plan.steps}; the checkpoint is written",
        f"go on with: {run.folder.resume_command(run.recipe.name)}",
        signum,
    )
