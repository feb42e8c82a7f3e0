"""Curves over epochs: of one run (loss, accuracy, learning rate), and of several runs overlaid."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from cifarlab.plots.style import (
    BLUE,
    CYCLE,
    GREY,
    INK,
    NARROW,
    VERMILION,
    label,
    sheet,
    tidy,
    with_margin,
)
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.run_data import RunData, dig
from cifarlab.system.formatting import number, pair, percent

_DASHES = ("-", "--", ":", "-.")


def curves(run: RunData) -> Figure | None:
    """Draw accuracy, loss and learning rate by epoch; None before the first epoch ends."""
    if not run.lines:
        return None
    figure = sheet(NARROW, 5.0)
    accuracy, loss, lr_axes = figure.subplots(
        3, 1, sharex=True, gridspec_kw={"height_ratios": [5, 4, 1.6]}
    )
    _lines(accuracy, run, "accuracy", 100)
    _lines(loss, run, "loss", 1)
    _plot_lr(lr_axes, run)
    _mark_best(run, accuracy, loss, lr_axes)
    _mark_test(run, accuracy)
    accuracy.set_title(
        ", ".join(dict.fromkeys((label(run.name), label(run.data_name, 40)))), loc="left"
    )
    accuracy.set_ylabel("accuracy (%)")
    loss.set_ylabel("loss (nats)")
    accuracy.legend(loc="best", frameon=True, edgecolor="none", framealpha=0.9)
    figure.align_ylabels()
    return figure


def _lines(axes: Axes, run: RunData, what: str, scale: float) -> None:
    for split, spoken, color in (("train", "training", GREY), ("val", "validation", BLUE)):
        values = run.curve(split, what)
        if not np.isnan(values).all():
            axes.plot(run.epochs, scale * values, color=color, marker=_marker(run), label=spoken)
    tidy(axes)


def _plot_lr(axes: Axes, run: RunData) -> None:
    lrs = run.curve("lr")
    axes.plot(run.epochs, lrs, color=INK, marker=_marker(run), linewidth=1.2)
    axes.set_ylim(with_margin(0, 1.1 * max(np.nanmax(lrs, initial=0), 1e-9), 0.07))
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(ylabel="learning rate", xlabel="epoch")


def _marker(run: RunData) -> str:
    """Return the marker: points where they can be told apart; one epoch would be no line."""
    return "o" if len(run.lines) <= 25 else ""


def _mark_best(run: RunData, accuracy: Axes, *below: Axes) -> None:
    if run.best is None:
        return
    epoch, value = run.best
    for axes in (accuracy, *below):
        axes.axvline(epoch, color=BLUE, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
    accuracy.plot(
        [epoch],
        [100 * value],
        "o",
        markersize=8,
        markerfacecolor="none",
        markeredgecolor=BLUE,
        label=f"best validation: {percent(value)}, epoch {epoch}",
    )


def _mark_test(run: RunData, axes: Axes) -> None:
    value = number(dig(run.split("test"), "accuracy"))
    if value is None:
        return
    epoch = dig(run.result, "evaluated", "epoch")
    epoch = epoch if isinstance(epoch, int) else run.last_epoch
    low, high = pair(run.split("test").get("interval"))
    reach = None if low is None or high is None else [[max(value - low, 0)], [max(high - value, 0)]]
    axes.errorbar(
        [epoch],
        [100 * value],
        yerr=None if reach is None else 100 * np.array(reach),
        fmt="D",
        color=VERMILION,
        markersize=4.5,
        capsize=2.5,
        elinewidth=1.2,
        zorder=4,
        label=f"test: {percent(value)}, epoch {epoch}",
    )


def overlay(runs: Sequence[RunData]) -> Figure | None:
    """Draw the validation accuracy of several runs by epoch; None where no run holds images out.

    Runs that differ by their seed alone share a colour, so that the eye compares recipes.
    """
    plotted = [run for run in runs if not np.isnan(run.curve("val", "accuracy")).all()]
    if not plotted:
        return None
    groups: dict[Recipe, list[RunData]] = {}
    for run in plotted:
        groups.setdefault(run.recipe.model_copy(update={"seed": 0, "name": "unnamed"}), []).append(
            run
        )
    rows = (len(groups) + 1) // 2
    figure = sheet(NARROW, 3.0 + 0.18 * rows)
    axes = figure.subplots()
    for index, members in enumerate(groups.values()):
        _group(axes, members, CYCLE[index % len(CYCLE)], _DASHES[index // len(CYCLE) % 4])
    names = ", ".join(dict.fromkeys(run.data_name for run in plotted))
    axes.set_title(label(names, 60), loc="left")
    axes.set(xlabel="epoch", ylabel="validation accuracy (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    tidy(axes)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _group(axes: Axes, runs: list[RunData], color: str, dash: str) -> None:
    several = len(runs) > 1
    text = f"{label(runs[0].recipe_name)} ({len(runs)} runs)" if several else label(runs[0].name)
    for index, run in enumerate(runs):
        axes.plot(
            run.epochs,
            100 * run.curve("val", "accuracy"),
            color=color,
            linestyle=dash,
            marker=_marker(run),
            linewidth=1.0 if several else 1.5,
            label=text if not index else None,
        )
