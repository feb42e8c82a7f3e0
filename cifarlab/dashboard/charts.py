"""A ``Plot`` as ECharts options, in the look of look.json.

A key that begins with a colon holds JavaScript, as NiceGUI has it; none of it comes from a run.
Texts on axes are style.css's, asked for in the browser, since only that knows light from dark.
"""

import html
import json
import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

from cifarlab.plots.spec import INK, Axis, Bars, Marks, Matrix, Panel, Plot

Options = dict[str, Any]

# ``css`` gives a color of style.css
SCRIPT = """const css =
name => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim()"""
# the shades of cells leave text legible on them, in light and in dark
_LOOK = json.loads((Path(__file__).parent / "look.json").read_text("utf-8"))
_SYMBOLS = {"D": "diamond", "s": "rect"}
_TOP, _BOTTOM, _GAP = 46, 46, 44  # pixels for the legend, the last axis, and between panels


def options(plot: Plot | None, height: int) -> Options:
    """Return the panels beneath each other on so many pixels; nothing where there is no plot."""
    made: Options = deepcopy(_LOOK["chart"])
    panels = plot.panels if plot else []
    weights = (plot and plot.heights) or [1.0] * len(panels)
    room = height - _TOP - _BOTTOM - _GAP * (len(panels) - 1)
    made |= {name: [] for name in ("grid", "xAxis", "yAxis", "series", "visualMap")}
    labels, top = [], float(_TOP)
    for index, (panel, weight) in enumerate(zip(panels, weights, strict=True)):
        size = room * weight / sum(weights)
        made["grid"].append({"left": 52, "right": 12, "top": round(top), "height": round(size)})
        top += size + _GAP
        made["xAxis"].append(_axis(panel, panel.x, "x") | {"gridIndex": index})
        made["yAxis"].append(_axis(panel, panel.y, "y") | {"gridIndex": index})
        for mark in panel.marks:
            if isinstance(mark, Matrix):
                made["visualMap"].append(_shades(mark) | {"seriesIndex": len(made["series"])})
            if isinstance(mark, Marks | Bars | Matrix):
                series = _series(mark, panel.y.label)
                made["series"].append(series | {"xAxisIndex": index, "yAxisIndex": index})
            if isinstance(mark, Marks) and mark.label:
                labels.append(mark.label)
    made["legend"]["data"] = list(dict.fromkeys(labels))
    if made["visualMap"]:
        made["grid"] = [{"left": 8, "right": 8, "top": 8, "bottom": 8, "containLabel": True}]
        made["tooltip"] |= {"trigger": "item", ":formatter": "p => p.name"}
    return made


def _axis(panel: Panel, axis: Axis, name: str) -> Options:
    made: Options = deepcopy(_LOOK["axis"])
    made["splitLine"]["show"] = panel.grid in (name, "both")
    if axis.names:
        made["axisLabel"] |= {
            "rotate": axis.rotation if name == "x" else 0,
            "width": 120,
            "overflow": "truncate",
            "interval": 0 if len(axis.names) <= 30 else "auto",
        }
        return made | {"type": "category", "data": list(axis.names), "inverse": name == "y"}
    made |= {"type": "value", "scale": axis.limits is None, "splitNumber": max(2, axis.ticks - 2)}
    made["name"] = axis.label
    if name == "x":
        made |= {"nameLocation": "middle", "nameGap": 28}
        made["nameTextStyle"]["align"] = "center"
    if axis.integer:
        known = np.concatenate([m.x for m in panel.marks if isinstance(m, Marks) and m.width])
        low, high = (known.min(), known.max()) if len(known) else (1, 2)
        made |= {"min": int(low), "max": int(max(high, low + 1)), "minInterval": 1}
    elif axis.limits:  # without the margins of per cents
        low, high = axis.limits
        made |= {"min": max(0.0, math.ceil(low)), "max": high // 5 * 5 if high > 5 else None}
    return made


def _series(mark: Marks | Bars | Matrix, name: str) -> Options:
    if isinstance(mark, Matrix):
        return _cells(mark)
    if isinstance(mark, Bars):
        look = {"color": mark.color, "barCategoryGap": "5%", "itemStyle": {"opacity": 0.55}}
        return {"type": "bar", "name": name, "data": _points(mark.at, mark.lengths)} | look
    color = {":color": "css('ink')"} if mark.color == INK else {"color": mark.color}
    made: Options = {"name": mark.label or name, "data": _points(mark.x, mark.y), **color}
    if mark.width:
        dash = "solid" if mark.dash == "-" else "dashed"
        line = {"width": max(mark.width, 1) * 4 / 3, "type": dash, **color}
        symbol: Options = {"showSymbol": bool(mark.marker), "symbolSize": 5}
        return made | {"type": "line", "lineStyle": line} | symbol
    ring: Options = {"color": "transparent", "borderWidth": 2, "borderColor": mark.color}
    style: Options = {"itemStyle": ring if mark.hollow else {"opacity": mark.alpha}}
    symbol = {"symbol": _SYMBOLS.get(mark.marker, "circle"), "symbolSize": 4.5 + mark.size}
    return made | {"type": "scatter", "z": mark.z} | style | symbol


def _points(x: Any, y: Any) -> list[list[float]]:
    pairs = ((float(a), round(float(b), 6)) for a, b in zip(x, y, strict=True))
    return [[int(a) if a.is_integer() else a, b] for a, b in pairs if not math.isnan(b)]


def _cells(mark: Matrix) -> Options:
    made: Options = deepcopy(_LOOK["cells"])
    made["label"]["show"] = mark.texts is not None
    made["itemStyle"]["borderWidth"] = 1 if max(mark.values.shape) <= 30 else 0
    made["data"] = []
    for row, column in np.argwhere(~np.isnan(mark.values)).tolist():
        value = float(mark.values[row, column])
        shown = value if mark.scale == "linear" else math.sqrt(value)
        tip = html.escape(mark.tip(row, column)).replace("\n", "<br>") if mark.tip else ""
        cell = {"value": [column, row, round(shown, 4), round(value, 1)], "name": tip}
        text = {} if mark.texts is None else {"text": mark.texts[row, column]}
        made["data"].append(cell | text)
    return made


def _shades(mark: Matrix) -> Options:
    """Return how values become colors: ECharts' ``visualMap``."""
    low, high = (max(0.0, limit) for limit in mark.limits)
    high = high if mark.scale == "linear" else math.sqrt(high)
    colors = {"color": _LOOK["shades"][mark.colors]}
    return {"show": False, "min": low, "max": high, "dimension": 2, "inRange": colors}
