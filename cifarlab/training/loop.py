"""The training loop: top to bottom in the order in which things happen."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from cifarlab.evaluation.measure import Score, score
from cifarlab.optim.plateau import start_segment, watched
from cifarlab.optim.schedules import Plateau
from cifarlab.system.errors import DivergenceError, Interrupted
from cifarlab.system.signals import Stop
from cifarlab.training.callbacks import Hook
from cifarlab.training.run import Run
from cifarlab.training.state import NEVER, Best, State, Totals
from cifarlab.training.step import step
from cifarlab.training.stop import ending, out_of_time


def fit(run: Run, hooks: Sequence[Hook], stop: Stop) -> None:
    """Train from the run's state to its end: metrics log and checkpoints on the way.

    A budget may end an epoch early; it is the last one then. Raises DivergenceError (the last good
    checkpoint stays), Interrupted (after a checkpoint), StorageError.
    """
    state, seconds = run.state, run.clock.seconds
    for epoch in run.plan.epochs[state.epoch :]:
        if run.processes.by_first(lambda: ending(run)) != "planned":
            break
        first, segment = run.plan.segment(epoch.first)
        if state.step == first:
            state.watch = start_segment(state.watch, segment.how)

        # train
        state.classifier.train()
        before, drawn, asked = dict(seconds), 0, 0
        with run.clock.running("train"):
            for batch in run.loader.epoch(state.epoch, state.step - epoch.first, epoch.steps):
                state.totals.add(*step(run, batch), state.step)
                state.step += 1
                drawn += batch.whole
                if run.compute.device.type == "cpu":  # free here; a GPU would have to wait
                    require_finite_losses(run)
                for hook in hooks:
                    hook.stepped(run, batch.whole)
                late = run.processes.first and out_of_time(run)  # one clock decides for all
                asked, over = run.processes.largest(stop.signum, late)
                if asked or over:
                    break
        require_finite_losses(run)
        if asked and state.step < epoch.first + epoch.steps:
            require_finite_network(run, None)
            run.checkpoints.save_last(state, run.about)
            raise interrupted(run, asked)

        # validate
        with run.clock.running("evaluate"):
            val = validate(run)
        require_finite_network(run, val)
        state.epoch += 1
        for hook in hooks:
            hook.validated(run)

        # write down: the metrics log first, since resume drops the lines ahead of its checkpoint
        line = epoch_line(run, val, {name: seconds[name] - before[name] for name in before}, drawn)
        run.processes.by_first(partial(run.folder.metrics.append, line))
        state.totals = Totals.zero(state.device)
        if val and isinstance(run.recipe.schedule, Plateau) and segment.how != "hold":
            state.watch = watched(run.recipe.schedule, state.watch, val.loss)
        better = note_best(state, val)
        run.checkpoints.save_last(state, run.about)
        if better:  # in this order: after a kill in between, resume makes best of last
            run.checkpoints.save_best(state, run.about)
        for hook in hooks:
            hook.epoch_ended(run, line)
        (asked,) = run.processes.largest(stop.signum)
        if asked:
            raise interrupted(run, asked)


def rate(run: Run, step: int) -> float:
    """The learning rate of that step, counted from 0."""
    return run.recipe.optimizer.rate * run.share(step)


def validate(run: Run) -> Score | None:
    """Accuracy and loss on what is held out; None where nothing is."""
    if run.validation is None:
        return None
    places, processes = run.validation.indices, run.processes
    own = run.predictor.logits(run.validation.images, 1, places[processes.part(len(places))])
    labels = run.validation.labels[places]
    return score(processes.gathered(own, len(places)), torch.from_numpy(labels))


def note_best(state: State, val: Score | None) -> bool:
    """Note the epoch that just ended as the best so far, where it is, and say whether it is."""
    if val is None or (state.best and val.accuracy <= state.best.val_accuracy):
        return False
    state.best = Best(state.epoch, val.accuracy, "")
    return True


def epoch_line(
    run: Run, val: Score | None, seconds: dict[str, float], images: int
) -> dict[str, Any]:
    """The journal line of the epoch that just ended, in ``seconds`` for ``images`` of it."""
    state, totals = run.state, run.state.totals
    return {
        "epoch": state.epoch,
        "step": state.step,
        "rate": rate(run, state.step - 1),
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
        raise diverged(run, "the training loss became NaN or infinite", bad_step)


def require_finite_network(run: Run, val: Score | None) -> None:
    """Raise DivergenceError if the epoch's last update spoilt the weights, before a save."""
    tensors = run.state.classifier.state_dict().values()
    weights = sum(t.double().sum() for t in tensors if t.is_floating_point())
    if not (math.isfinite(weights) and (val is None or math.isfinite(val.loss))):
        raise diverged(run, "the network's weights or outputs became NaN", run.state.step - 1)


def diverged(run: Run, what: str, step: int) -> DivergenceError:
    """The error of a run that can't go on, with what to change."""
    kept = run.state.epoch
    return DivergenceError(
        f"{what} at step {step} (epoch {kept + 1}), at learning rate {rate(run, step):.4g}",
        f"lower optimizer.rate, lengthen schedule.warmup or set training.clip_norm; "
        f"the checkpoint of epoch {kept} is kept"
        if kept
        else "lower optimizer.rate, lengthen schedule.warmup or set training.clip_norm",
    )


def interrupted(run: Run, signum: int) -> Interrupted:
    """What a run that was asked to stop says after its checkpoint."""
    return Interrupted(
        f"interrupted after step {run.state.step} of {run.plan.steps}; the checkpoint is written",
        f"go on with: {run.folder.resume_command(run.recipe.name)}",
        signum,
    )
