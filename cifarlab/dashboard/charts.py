"""Charts as ECharts options: pure functions of what a report knows of runs.

A key that begins with a colon holds JavaScript, as NiceGUI has it; none of it comes from a run.
Texts on axes are the theme's, asked for in the browser, since only that knows light from dark.
"""

import html
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cifarlab.plots.style import BLUE, CYCLE, GREY, VERMILION, label
from cifarlab.report.tables import class_names, confusion_of, drawn_classes
from cifarlab.run_folder.run_data import RunData, dig
from cifarlab.system.formatting import number, percent

Options = dict[str, Any]

FEW = 12  # classes; with more, a number no longer fits its cell
_FAINT = "rgba(128,128,128,0.22)"
_ORANGES = ["rgba(213,94,0,0.06)", "rgba(213,94,0,0.45)", "rgba(213,94,0,0.85)"]
_BLUES = ["rgba(0,114,178,0.04)", "rgba(0,114,178,0.45)"]


def theme(name: str) -> str:
    """Return JavaScript for a color of style.css."""
    return f"getComputedStyle(document.documentElement).getPropertyValue('--{name}').trim()"


def _axis(name: str = "", **more: Any) -> Options:
    return {
        "name": name,
        "nameTextStyle": {":color": theme("soft"), "fontSize": 12, "align": "left"},
        "axisLabel": {":color": theme("soft"), "fontSize": 12, "hideOverlap": True},
        "axisLine": {"lineStyle": {"color": _FAINT}},
        "axisTick": {"show": False},
        "splitLine": {"lineStyle": {"color": _FAINT}},
        **more,
    }


def _shared() -> Options:
    return {
        "animation": False,
        "textStyle": {"fontFamily": "inherit"},
        "legend": {
            "top": 0,
            "left": 0,
            "type": "scroll",
            "icon": "roundRect",
            "itemWidth": 14,
            "itemHeight": 4,
            "textStyle": {":color": theme("ink")},
        },
    }


def _tooltip() -> Options:
    return {
        "trigger": "axis",
        "confine": True,
        ":backgroundColor": theme("card"),
        ":borderColor": theme("line"),
        "textStyle": {":color": theme("ink"), "fontSize": 12},
    }


def _points(run: RunData, values: np.ndarray) -> list[list[float]]:
    kept = ~np.isnan(values)
    pairs = zip(run.epochs[kept], values[kept], strict=True)
    return [[int(epoch), round(float(value), 6)] for epoch, value in pairs]


def curves(run: RunData) -> Options:
    """Return accuracy, loss and learning rate by epoch, beneath each other, as the same series."""
    tops, heights = (34, 282, 460), (200, 130, 70)
    names = ("accuracy (%)", "loss (nats)", "learning rate")
    series = []
    for split, spoken, color in (("train", "training", GREY), ("val", "validation", BLUE)):
        for grid_index, (what, scale) in enumerate((("accuracy", 100), ("loss", 1))):
            series.append(
                _line(spoken, _points(run, scale * run.curve(split, what)), color, grid_index)
            )
    lr_line = _line("learning rate", _points(run, run.curve("lr")), VERMILION, 2)
    series += [lr_line | {"step": False}, _best(run), _test(run)]
    shared = _shared()
    shared["legend"]["data"] = ["training", "validation", "best", "test"]  # the rate has its axis
    return shared | {
        "tooltip": _tooltip(),
        "axisPointer": {"link": [{"xAxisIndex": "all"}], "lineStyle": {"color": _FAINT}},
        "grid": [
            {"left": 52, "right": 12, "top": top + 16, "height": height}
            for top, height in zip(tops, heights, strict=True)
        ],
        "xAxis": [
            _axis(
                "epoch" if grid_index == 2 else "",
                type="value",
                gridIndex=grid_index,
                min=1,
                max=max(run.last_epoch, 2),
                minInterval=1,
                nameLocation="middle",
                nameGap=28,
                splitLine={"show": False},
            )
            for grid_index in range(3)
        ],
        "yAxis": [
            _axis(
                name,
                type="value",
                gridIndex=grid_index,
                scale=grid_index < 2,
                splitNumber=5 - grid_index,
            )
            for grid_index, name in enumerate(names)
        ],
        "series": series,
    }


def _line(name: str, data: list[list[float]], color: str, grid_index: int) -> Options:
    return {
        "name": name,
        "type": "line",
        "data": data,
        "xAxisIndex": grid_index,
        "yAxisIndex": grid_index,
        "color": color,
        "lineStyle": {"width": 2, "color": color},
        "showSymbol": len(data) <= 25,
        "symbolSize": 5,
    }


def _best(run: RunData) -> Options:
    """Return the best validation accuracy as a ring."""
    best = run.best
    data = [] if best is None else [[best[0], round(100 * best[1], 6)]]
    return {
        "name": "best",
        "type": "scatter",
        "data": data,
        "symbolSize": 12,
        "color": BLUE,
        "itemStyle": {"color": "transparent", "borderColor": BLUE, "borderWidth": 2},
    }


def _test(run: RunData) -> Options:
    """Return the test accuracy as a diamond at the epoch that was measured."""
    value = number(dig(run.split("test"), "accuracy"))
    epoch = dig(run.result, "evaluated", "epoch")
    epoch = epoch if isinstance(epoch, int) else run.last_epoch
    return {
        "name": "test",
        "type": "scatter",
        "symbol": "diamond",
        "data": [] if value is None else [[epoch, round(100 * value, 6)]],
        "symbolSize": 12,
        "color": VERMILION,
        "z": 3,  # before the curves, which come to about the same value
    }


def overlay(runs: Sequence[RunData]) -> Options | None:
    """Return several runs' validation accuracy; those that differ by their seed share a colour.

    None where no run holds images out.
    """
    shown = [run for run in runs if not np.isnan(run.curve("val", "accuracy")).all()]
    if not shown:
        return None
    groups: dict[Any, list[RunData]] = {}
    for run in shown:
        key = run.recipe.model_copy(update={"seed": 0, "name": "unnamed"})
        groups.setdefault(key, []).append(run)
    series = []
    for index, members in enumerate(groups.values()):
        color = CYCLE[index % (len(CYCLE) - 1)]  # the last is ink, which the dark theme lacks
        for run in members:
            name = run.name if len(members) == 1 else f"{run.recipe_name} ({len(members)} seeds)"
            series.append(
                _line(label(name, 48), _points(run, 100 * run.curve("val", "accuracy")), color, 0)
            )
    many = len(groups) > 1
    return _shared() | {
        "tooltip": _tooltip(),
        "grid": {"left": 52, "right": 12, "top": 62 if many else 50, "bottom": 46},
        "xAxis": _axis(
            "epoch",
            type="value",
            min=1,
            minInterval=1,
            nameLocation="middle",
            nameGap=28,
            splitLine={"show": False},
        ),
        "yAxis": _axis("validation accuracy (%)", type="value", scale=True),
        "series": series,
    }


def confusion(run: RunData) -> Options | None:
    """Return the confusion matrix by fraction of the true class; errors by the square root."""
    counts = confusion_of(run)
    if counts is None:
        return None
    shown, totals = drawn_classes(counts), counts.sum(axis=1)
    k, all_names = len(shown), class_names(run, len(counts))
    names, totals = [all_names[number] for number in shown], totals[shown]
    counts = counts[np.ix_(shown, shown)]
    fraction_matrix = counts / np.maximum(totals[:, None], 1)
    cells: dict[bool, list[Options]] = {False: [], True: []}
    for row, column in zip(*np.nonzero(counts), strict=True):
        true, guess = names[row], names[column]
        value = float(fraction_matrix[row, column])
        title = f"{true}: right" if row == column else f"{true} taken for {guess}"
        detail = f"{counts[row, column]} of {totals[row]}, {percent(value, 1)}"
        shade = value if row == column else math.sqrt(value)
        cell = [int(column), int(row), round(shade, 4), round(100 * value, 1)]
        cells[bool(row == column)].append(
            {"value": cell, "name": f"{html.escape(title)}<br>{detail}"}
        )
    largest = max((cell["value"][2] for cell in cells[False]), default=1.0)
    return _shared() | {
        "legend": {"show": False},
        "tooltip": _tooltip() | {"trigger": "item", ":formatter": "p => p.name"},
        "grid": {"left": 8, "right": 8, "top": 8, "bottom": 8, "containLabel": True},
        "xAxis": _classes(names, "predicted", rotate=90 if k > FEW else 45),
        "yAxis": _classes(names, "true", inverse=True),
        "visualMap": [
            _shades(0, _ORANGES, max(largest, 0.01)),
            _shades(1, _BLUES, 1.0),
        ],
        "series": [_cells(cells[False], k), _cells(cells[True], k)],
    }


def _classes(names: Sequence[str], what: str, rotate: int = 0, inverse: bool = False) -> Options:
    words = {
        ":color": theme("soft"),
        "fontSize": 11,
        "rotate": rotate,
        "interval": 0 if len(names) <= 30 else "auto",
        "width": 90,
        "overflow": "truncate",
    }
    line = {"show": len(names) > FEW, "lineStyle": {"color": _FAINT}}
    return _axis(
        type="category",
        data=list(names),
        inverse=inverse,
        axisLabel=words,
        axisLine=line,
        splitLine={"show": False},
        triggerEvent=False,
    ) | {"name": "", "id": what}


def _shades(series_index: int, colors: list[str], most: float) -> Options:
    return {
        "show": False,
        "min": 0,
        "max": most,
        "dimension": 2,
        "seriesIndex": series_index,
        "inRange": {"color": colors},
    }


def _cells(data: list[Options], k: int) -> Options:
    return {
        "type": "heatmap",
        "data": data,
        "label": {
            "show": k <= FEW,
            "fontSize": 10,
            ":color": theme("ink"),
            ":formatter": "p => p.value[3] >= 99.95 ? '100' : p.value[3].toFixed(1)",
        },
        "itemStyle": {"borderWidth": 1 if k <= 30 else 0, ":borderColor": theme("paper")},
        "emphasis": {"itemStyle": {":borderColor": theme("ink")}},
    }
