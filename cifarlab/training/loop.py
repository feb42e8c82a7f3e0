"""The training loop, in the order in which things happen."""

import math
from functools import partial
from typing import Any

import torch

from cifarlab.metrics.calibration import log_loss
from cifarlab.metrics.kinds import Accuracy, MetricConfig, measure_metrics
from cifarlab.system.errors import DivergenceError, Interrupted
from cifarlab.system.signals import AT_ONCE, STOP_REASONS, StopReason
from cifarlab.training.plan import Epoch
from cifarlab.training.run import Run
from cifarlab.training.state import NEVER, BestEpoch, Totals
from cifarlab.training.step import step

NAN_WEIGHTS = "the network's weights or outputs became NaN"


def fit(run: Run) -> StopReason:
    """Train from the run's state to its end, and return what ended it.

    Writes the metrics log and the checkpoints. ``training.max_time`` may end the last epoch early.

    Raises:
        DivergenceError: the loss is not finite; the last good checkpoint stays
        Interrupted: a signal arrived; a checkpoint is written before
        StorageError: the disk refused
    """
    state, on_main = run.state, run.processes.broadcast_from_rank0
    reason = find_stop_reason(run) if state.epoch else "planned"
    for epoch in run.plan.epochs[state.epoch :]:
        if reason != "planned":
            break
        first, segment = run.plan.segment(epoch.first)
        if state.step == first:
            state.schedule = state.schedule.start_segment(segment.mode)
            if segment.start == "best":
                run.checkpoints.load_best(state, run.processes)
        seconds_before, step_before = dict(run.clock.seconds), state.step
        reason = train_epoch(run, epoch)
        require_finite_weights(run)
        if reason in AT_ONCE and state.step < epoch.first + epoch.steps:
            on_main(partial(run.checkpoints.save_last, state, run.weights_file))
            break

        # validate
        with run.clock.profile("evaluate"):
            val = validate(run)
        state.epoch += 1
        for callback in run.callbacks:
            callback.on_validation_end(run)

        # write: the metrics log first, since resume drops the lines ahead of its checkpoint
        seconds = {name: s - seconds_before[name] for name, s in run.clock.seconds.items()}
        sizes = run.plan.batch_sizes[step_before - epoch.first : state.step - epoch.first]
        line = summarize_epoch(run, val, seconds, sum(sizes))
        on_main(partial(run.folder.metrics.append, line))
        state.totals = Totals.zero(state.device)
        schedule = run.recipe.schedule
        if val and schedule.needs_validation and segment.mode != "hold":
            value = val[schedule.watched_metric.name]
            state.schedule = schedule.update_state(state.schedule, value)
        improved = update_best(run, val)
        on_main(partial(run.checkpoints.save_last, state, run.weights_file))
        if improved:  # in this order: after a kill in between, resume makes best of last
            on_main(run.checkpoints.save_best)
        for callback in run.callbacks:
            callback.on_epoch_end(run, line)
        reason = find_stop_reason(run)
    if reason in AT_ONCE:
        raise interruption(run)
    return reason if state.step < run.plan.steps else "planned"


def train_epoch(run: Run, epoch: Epoch) -> StopReason:
    """Train from the run's state to the epoch's end and return what ended it.

    Raises:
        DivergenceError: the loss is not finite
    """
    state = run.state
    reason: StopReason = "planned"
    state.classifier.train()
    with run.clock.profile("train"):
        for batch in run.loader.epoch(state.epoch, state.step - epoch.first, epoch.steps):
            state.totals.add(*step(run, batch), state.step)
            state.step += 1
            if run.compute.device.type == "cpu":  # a GPU would have to wait for this
                require_finite_losses(run)
            for callback in run.callbacks:
                callback.on_step_end(run, batch.global_size)
            reason = find_stop_reason(run)
            if reason in ("max_time", *AT_ONCE):
                break
    require_finite_losses(run)
    return reason


def find_stop_reason(run: Run) -> StopReason:
    """Return why the run should end now, the same in all processes; ``planned``: it goes on.

    Called after each step and between two epochs; nothing else ends a run.
    """
    stop, training, monitored = run.stop, run.recipe.training, run.state.monitored
    rule, max_time, reasons = training.early_stopping, training.max_time, [stop.reason]
    if rule and monitored and run.state.epoch - monitored.epoch >= rule.patience:
        reasons.append("early_stopping")
    # the clock of one process decides for all
    if max_time and run.processes.is_main_process and run.clock.total >= max_time.seconds:
        reasons.append("max_time")
    index = max(map(STOP_REASONS.index, reasons))
    index, signum = run.processes.all_reduce_max(index, stop.signum)
    if STOP_REASONS[index] in AT_ONCE:
        stop.ask(STOP_REASONS[index], signum)
    return STOP_REASONS[index]


def get_lr(run: Run, step: int) -> float:
    """Return the learning rate of ``step``, counted from 0."""
    return run.recipe.optimizer.lr * run.lr_factor(step)


def validate(run: Run) -> dict[str, float] | None:
    """Return accuracy, loss and the recipe's metrics on validation images; None without any.

    Raises:
        DivergenceError: the loss is not finite
    """
    if run.validation is None:
        return None
    indices, processes = run.validation.indices, run.processes
    shard = indices[processes.shard(len(indices))]
    local_logits = run.predictor.logits(run.validation.images, 1, shard)
    logits = processes.all_gather(local_logits, len(indices)).cpu().numpy()
    labels = run.validation.labels[indices]
    loss = log_loss(logits, labels)
    if not math.isfinite(loss):
        raise divergence_error(run, NAN_WEIGHTS, run.state.step - 1)
    values = measure_metrics([Accuracy(), *run.recipe.metrics], logits, labels)
    return {"accuracy": values.pop("accuracy"), "loss": loss, **values}


def update_best(run: Run, val: dict[str, float] | None) -> bool:
    """Record whether the epoch that just ended is the best; return whether ``best`` changed."""
    state, early_stopping = run.state, run.recipe.training.early_stopping
    if val is None:
        return False
    if early_stopping:
        state.monitored = pick_best(state.monitored, early_stopping.monitor, val, state.epoch)
    before, metric = state.best, run.recipe.evaluation.metric
    state.best = pick_best(before, metric, val, state.epoch)
    return state.best is not before


def pick_best(
    best: BestEpoch | None, metric: MetricConfig, val: dict[str, float], epoch: int
) -> BestEpoch:
    """Return the best epoch by a metric, of those up to now and this one.

    Args:
        best: the best one up to now; None before the first
        metric: what decides
        val: metrics of this epoch on the validation images, by name
        epoch: its number, from 1
    """
    value = val[metric.name]
    return BestEpoch(epoch, value) if best is None or metric.is_better(value, best.value) else best


def summarize_epoch(
    run: Run, val: dict[str, float] | None, seconds: dict[str, float], images: int
) -> dict[str, Any]:
    """Return the line of the metrics log for the epoch that just ended.

    Args:
        run: the run
        val: metrics on the validation images; None without any
        seconds: of each activity in this start's part of the epoch
        images: that were drawn in that part
    """
    totals, step, train = run.state.totals, run.state.step, seconds["train"]
    n = totals.n_images
    means = {"accuracy": int(totals.correct) / n, "loss": float(totals.loss) / n}
    cost: dict[str, float | None] = {"train_seconds": train}
    cost["evaluate_seconds"] = seconds["evaluate"]
    cost["images_per_second"] = images / train if train else None
    progress = {"epoch": run.state.epoch, "step": step, "lr": get_lr(run, step - 1)}
    return {**progress, "train": means, "val": val, "cost": cost}


def require_finite_losses(run: Run) -> None:
    """Raise DivergenceError for the first step of this epoch with a NaN or infinite loss."""
    bad_step = int(run.state.totals.bad_step)
    if bad_step != NEVER:
        raise divergence_error(run, "the training loss became NaN or infinite", bad_step)


def require_finite_weights(run: Run) -> None:
    """Raise DivergenceError where weights are not finite; called before they are saved."""
    tensors = run.state.classifier.state_dict().values()
    if not torch.stack([t.isfinite().all() for t in tensors]).all():
        raise divergence_error(run, NAN_WEIGHTS, run.state.step - 1)


def divergence_error(run: Run, what: str, step: int) -> DivergenceError:
    """Return the error of a run that can't go on.

    Args:
        run: the run
        what: what is not finite, in words
        step: where that happened, counted from 0
    """
    epoch = run.state.epoch
    rest = f"; the checkpoint of epoch {epoch} is kept" if epoch else ""
    return DivergenceError(
        f"{what} at step {step} (epoch {epoch + 1}), at learning rate {get_lr(run, step):.4g}",
        f"lower optimizer.lr, lengthen schedule.warmup or set training.clip_grad_norm{rest}",
    )


def interruption(run: Run) -> Interrupted:
    """Return the error that ends a run which was asked to stop, after its checkpoint."""
    return Interrupted(
        f"interrupted after step {run.state.step} of {run.plan.steps}; the checkpoint is written",
        f"go on with: {run.folder.resume_command(run.recipe.name)}",
        run.stop.signum,
    )
