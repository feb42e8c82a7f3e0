"""A ``Plot`` as ECharts options, in the style of theme.json.

The value of a key that begins with a colon is JavaScript (NiceGUI's syntax); none comes from a
run. Colors of texts are read from style.css in the browser, which knows light mode from dark.
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

# ``css`` returns a color of style.css
SCRIPT = """const css =
name => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim()"""
# text on its shades is legible in light and in dark mode
_THEME = json.loads((Path(__file__).parent / "theme.json").read_text("utf-8"))
_SYMBOLS = {"D": "diamond", "s": "rect"}
_TOP, _BOTTOM, _GAP = 46, 46, 44  # pixels for the legend, the last axis, and between panels


def chart_options(plot: Plot | None, height: int) -> Options:
    """Return a plot's panels below each other in ``height`` pixels; no panels where it is None."""
    options: Options = deepcopy(_THEME["chart"])
    panels = plot.panels if plot else []
    weights = (plot and plot.heights) or [1.0] * len(panels)
    room = height - _TOP - _BOTTOM - _GAP * (len(panels) - 1)
    options |= {name: [] for name in ("grid", "xAxis", "yAxis", "series", "visualMap")}
    labels, top = [], float(_TOP)
    for index, (panel, weight) in enumerate(zip(panels, weights, strict=True)):
        size = room * weight / sum(weights)
        grid = {"left": 130 if panel.y.names else 52, "right": 12}
        options["grid"].append(grid | {"top": round(top), "height": round(size)})
        top += size + _GAP
        options["xAxis"].append(_axis_options(panel, panel.x, "x") | {"gridIndex": index})
        options["yAxis"].append(_axis_options(panel, panel.y, "y") | {"gridIndex": index})
        for mark in panel.marks:
            if isinstance(mark, Matrix):
                options["visualMap"].append(_shades(mark) | {"seriesIndex": len(options["series"])})
            if isinstance(mark, Marks | Bars | Matrix):
                series = _series_options(mark, panel.y.label)
                options["series"].append(series | {"xAxisIndex": index, "yAxisIndex": index})
            if isinstance(mark, Marks) and mark.label:
                labels.append(mark.label)
    options["legend"]["data"] = list(dict.fromkeys(labels))
    if options["visualMap"]:
        options["grid"] = [{"left": 8, "right": 8, "top": 8, "bottom": 8, "containLabel": True}]
        options["tooltip"] |= {"trigger": "item", ":formatter": "p => p.name"}
    return options


def _axis_options(panel: Panel, axis: Axis, name: str) -> Options:
    options: Options = deepcopy(_THEME["axis"])
    options["splitLine"]["show"] = panel.grid in (name, "both")
    if axis.names:
        options["axisLabel"] |= {
            "rotate": axis.rotation if name == "x" else 0,
            "width": 120,
            "overflow": "truncate",
            "interval": 0 if len(axis.names) <= 30 else "auto",
        }
        return options | {"type": "category", "data": list(axis.names), "inverse": name == "y"}
    options |= {"type": "value", "scale": axis.limits is None, "name": axis.label}
    options["splitNumber"] = max(2, axis.ticks - 2)
    if name == "x":
        options |= {"nameLocation": "middle", "nameGap": 28}
        options["nameTextStyle"]["align"] = "center"
    if axis.integer:
        x = np.concatenate([m.x for m in panel.marks if isinstance(m, Marks) and m.width])
        low, high = (x.min(), x.max()) if len(x) else (1, 2)
        options |= {"min": int(low), "max": int(max(high, low + 1)), "minInterval": 1}
    elif axis.limits:  # those of percentages have margins, which ECharts does not need
        low, high = axis.limits
        options |= {"min": max(0.0, math.ceil(low)), "max": high // 5 * 5 if high > 5 else None}
    return options


def _series_options(mark: Marks | Bars | Matrix, name: str) -> Options:
    if isinstance(mark, Matrix):
        return _matrix_options(mark)
    if isinstance(mark, Bars):
        look = {"color": mark.color, "barCategoryGap": "5%", "itemStyle": {"opacity": 0.55}}
        ends = (mark.lengths, mark.positions) if mark.flat else (mark.positions, mark.lengths)
        bars = {"type": "bar", "name": name, "data": _points(*ends), "barGap": "-100%"}
        return bars | look
    color = {":color": "css('ink')"} if mark.color == INK else {"color": mark.color}
    options: Options = {"name": mark.label or name, "data": _points(mark.x, mark.y), **color}
    if mark.width:
        dash = "solid" if mark.dash == "-" else "dashed"
        line = {"width": max(mark.width, 1) * 4 / 3, "type": dash, **color}
        symbol: Options = {"showSymbol": bool(mark.marker), "symbolSize": 5}
        return options | {"type": "line", "lineStyle": line} | symbol
    ring: Options = {"color": "transparent", "borderWidth": 2, "borderColor": mark.color}
    style: Options = {"itemStyle": ring if mark.hollow else {"opacity": mark.alpha}}
    symbol = {"symbol": _SYMBOLS.get(mark.marker, "circle"), "symbolSize": 4.5 + mark.size}
    return options | {"type": "scatter", "z": mark.z} | style | symbol


def _points(x: Any, y: Any) -> list[list[float]]:
    pairs = ((float(a), round(float(b), 6)) for a, b in zip(x, y, strict=True))
    points = [pair for pair in pairs if not any(map(math.isnan, pair))]
    return [[int(a) if a.is_integer() else a, b] for a, b in points]


def _matrix_options(mark: Matrix) -> Options:
    options: Options = deepcopy(_THEME["cells"])
    options["label"]["show"] = mark.texts is not None
    options["itemStyle"]["borderWidth"] = 1 if max(mark.values.shape) <= 30 else 0
    options["data"] = []
    for row, column in np.argwhere(~np.isnan(mark.values)).tolist():
        value = float(mark.values[row, column])
        shade = value if mark.scale == "linear" else math.sqrt(value)
        tip = html.escape(mark.tip(row, column)).replace("\n", "<br>") if mark.tip else ""
        cell = {"value": [column, row, round(shade, 4), round(value, 1)], "name": tip}
        text = {} if mark.texts is None else {"text": mark.texts[row, column]}
        options["data"].append(cell | text)
    return options


def _shades(mark: Matrix) -> Options:
    """Return ECharts' ``visualMap``, which turns values into colors."""
    low, high = (max(0.0, limit) for limit in mark.limits)
    high = high if mark.scale == "linear" else math.sqrt(high)
    colors = {"color": _THEME["shades"][mark.colors]}
    return {"show": False, "min": low, "max": high, "dimension": 2, "inRange": colors}
