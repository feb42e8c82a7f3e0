"""The training loop: top to bottom in the order in which things happen."""

import math
from functools import partial
from typing import Any

from cifarlab.metrics.calibration import log_loss
from cifarlab.metrics.kinds import Accuracy, MetricConfig, measure_metrics
from cifarlab.system.errors import DivergenceError, Interrupted
from cifarlab.system.signals import AT_ONCE, STOP_REASONS, StopReason
from cifarlab.training.plan import Epoch
from cifarlab.training.run import Run
from cifarlab.training.state import NEVER, Best, Totals
from cifarlab.training.step import step

SPOILT = "the network's weights or outputs became NaN"


def fit(run: Run) -> StopReason:
    """Train from the run's state to its end, and return what ended it.

    Metrics log and checkpoints are written on the way. ``training.max_time`` may end an epoch
    early; it is the last one then. Raises DivergenceError (the last good checkpoint stays),
    Interrupted (after a checkpoint), StorageError.
    """
    state, on_main = run.state, run.processes.broadcast_from_rank0
    reason = stop_reason(run) if state.epoch else "planned"
    for epoch in run.plan.epochs[state.epoch :]:
        if reason != "planned":
            break
        first, segment = run.plan.segment(epoch.first)
        if state.step == first:
            state.schedule = state.schedule.start_segment(segment.mode)
        seconds_before, step_before = dict(run.clock.seconds), state.step
        reason = train_epoch(run, epoch)
        require_finite_weights(run)
        if reason in AT_ONCE and state.step < epoch.first + epoch.steps:
            on_main(partial(run.checkpoints.save_last, state, run.about))
            break

        # validate
        with run.clock.running("evaluate"):
            val = validate(run)
        state.epoch += 1
        for callback in run.callbacks:
            callback.on_validation_end(run)

        # write down: the metrics log first, since resume drops the lines ahead of its checkpoint
        seconds = {name: s - seconds_before[name] for name, s in run.clock.seconds.items()}
        shown = run.plan.batch_sizes[step_before - epoch.first : state.step - epoch.first]
        line = epoch_metrics(run, val, seconds, sum(shown))
        on_main(partial(run.folder.metrics.append, line))
        state.totals = Totals.zero(state.device)
        schedule = run.recipe.schedule
        if val and schedule.needs_validation and segment.mode != "hold":
            value = val[schedule.watched_metric.name]
            state.schedule = schedule.update_state(state.schedule, value)
        improved = update_best(run, val)
        on_main(partial(run.checkpoints.save_last, state, run.about))
        if improved:  # in this order: after a kill in between, resume makes best of last
            on_main(partial(run.about.write, run.checkpoints.best, state.evaluated))
        for callback in run.callbacks:
            callback.on_epoch_end(run, line)
        reason = stop_reason(run)
    if reason in AT_ONCE:
        raise interruption(run)
    return reason if state.step < run.plan.steps else "planned"


def train_epoch(run: Run, epoch: Epoch) -> StopReason:
    """Train from the run's state to the epoch's end; return what ended it. DivergenceError."""
    state = run.state
    reason: StopReason = "planned"
    state.classifier.train()
    with run.clock.running("train"):
        for batch in run.loader.epoch(state.epoch, state.step - epoch.first, epoch.steps):
            state.totals.add(*step(run, batch), state.step)
            state.step += 1
            if run.compute.device.type == "cpu":  # free here; a GPU would have to wait
                require_finite_losses(run)
            for callback in run.callbacks:
                callback.on_step_end(run, batch.global_size)
            reason = stop_reason(run)
            if reason in ("max_time", *AT_ONCE):
                break
    require_finite_losses(run)
    return reason


def stop_reason(run: Run) -> StopReason:
    """Return what wants the run to end, the same in all of its processes; ``planned``: nothing.

    It is asked here alone: after each step, and between two epochs.
    """
    stop, training, monitored = run.stop, run.recipe.training, run.state.monitored
    early, max_time, reasons = training.early_stopping, training.max_time, [stop.reason]
    if early and monitored and run.state.epoch - monitored.epoch >= early.patience:
        reasons.append("early_stopping")
    # one clock decides for all
    if max_time and run.processes.is_main_process and run.clock.total >= max_time.seconds:
        reasons.append("max_time")
    index = max(map(STOP_REASONS.index, reasons))
    index, signum = run.processes.all_reduce_max(index, stop.signum)
    if STOP_REASONS[index] in AT_ONCE:
        stop.ask(STOP_REASONS[index], signum)
    return STOP_REASONS[index]


def lr_at(run: Run, step: int) -> float:
    """Return the learning rate of that step, counted from 0."""
    return run.recipe.optimizer.lr * run.lr_factor(step)


def validate(run: Run) -> dict[str, float] | None:
    """Return accuracy, loss and the recipe's metrics of what is held out; None where nothing is.

    Raises DivergenceError where the loss is no number.
    """
    if run.validation is None:
        return None
    indices, processes = run.validation.indices, run.processes
    part = run.predictor.logits(run.validation.images, 1, indices[processes.shard(len(indices))])
    logits = processes.all_gather(part, len(indices)).cpu().numpy()
    labels = run.validation.labels[indices]
    loss = log_loss(logits, labels)
    if not math.isfinite(loss):
        raise divergence_error(run, SPOILT, run.state.step - 1)
    values = measure_metrics([Accuracy(), *run.recipe.metrics], logits, labels)
    return {"accuracy": values.pop("accuracy"), "loss": loss, **values}


def update_best(run: Run, val: dict[str, float] | None) -> bool:
    """Record where the epoch that just ended is the best so far; say whether ``best`` changed."""
    state, early_stopping = run.state, run.recipe.training.early_stopping
    if val is None:
        return False
    if early_stopping:
        state.monitored = better(state.monitored, early_stopping.monitor, val, state.epoch)
    before, metric = state.best, run.recipe.evaluation.metric
    state.best = better(before, metric, val, state.epoch)
    return state.best is not before


def better(best: Best | None, metric: MetricConfig, val: dict[str, float], epoch: int) -> Best:
    """Return the best epoch by a metric, of those up to now and this one."""
    value = val[metric.name]
    return Best(epoch, value) if best is None or metric.is_better(value, best.value) else best


def epoch_metrics(
    run: Run, val: dict[str, float] | None, seconds: dict[str, float], images: int
) -> dict[str, Any]:
    """Return the metrics line of the epoch that just ended, in ``seconds`` for ``images`` of it."""
    totals, step, train = run.state.totals, run.state.step, seconds["train"]
    n_seen = totals.seen
    means = {"accuracy": int(totals.correct) / n_seen, "loss": float(totals.loss) / n_seen}
    cost: dict[str, float | None] = {"train_seconds": train}
    cost["evaluate_seconds"] = seconds["evaluate"]
    cost["images_per_second"] = images / train if train else None
    when = {"epoch": run.state.epoch, "step": step, "lr": lr_at(run, step - 1)}
    return {**when, "train": means, "val": val, "cost": cost}


def require_finite_losses(run: Run) -> None:
    """Raise DivergenceError that names the first step of this epoch with a NaN or infinite loss."""
    bad_step = int(run.state.totals.bad_step)
    if bad_step != NEVER:
        raise divergence_error(run, "the training loss became NaN or infinite", bad_step)


def require_finite_weights(run: Run) -> None:
    """Raise DivergenceError if the epoch's last update spoilt the weights, before a save."""
    tensors = run.state.classifier.state_dict().values()
    weights = sum(t.double().sum() for t in tensors if t.is_floating_point())
    if not math.isfinite(weights):
        raise divergence_error(run, SPOILT, run.state.step - 1)


def divergence_error(run: Run, what: str, step: int) -> DivergenceError:
    """Return the error of a run that can't go on, with what to change."""
    epoch = run.state.epoch
    kept = f"; the checkpoint of epoch {epoch} is kept" if epoch else ""
    return DivergenceError(
        f"{what} at step {step} (epoch {epoch + 1}), at learning rate {lr_at(run, step):.4g}",
        f"lower optimizer.lr, lengthen schedule.warmup or set training.clip_grad_norm{kept}",
    )


def interruption(run: Run) -> Interrupted:
    """Return what a run that was asked to stop says after its checkpoint."""
    return Interrupted(
        f"interrupted after step {run.state.step} of {run.plan.steps}; the checkpoint is written",
        f"go on with: {run.folder.resume_command(run.recipe.name)}",
        run.stop.signum,
    )
