"""A ``Plot`` as ECharts options.

A key that begins with a colon holds JavaScript, as NiceGUI has it; none of it comes from a run.
Texts on axes are the theme's, asked for in the browser, since only that knows light from dark.
"""

import html
import math
from typing import Any

import numpy as np

from cifarlab.plots.spec import INK, Axis, Bars, Marks, Matrix, Panel, Plot

Options = dict[str, Any]

_FAINT = "rgba(128,128,128,0.22)"
_SHADES = {  # text stays legible on them, in light and in dark
    "Oranges": ["rgba(213,94,0,0.06)", "rgba(213,94,0,0.45)", "rgba(213,94,0,0.85)"],
    "Blues": ["rgba(0,114,178,0.04)", "rgba(0,114,178,0.45)"],
    "viridis": ["rgba(0,158,115,0.05)", "rgba(0,158,115,0.6)"],
}
_SYMBOLS = {"D": "diamond", "s": "rect"}
_TOP, _BOTTOM, _GAP = 46, 46, 44  # pixels for the legend, the last axis, and between panels


def theme(name: str) -> str:
    """Return JavaScript for a color of style.css."""
    return f"getComputedStyle(document.documentElement).getPropertyValue('--{name}').trim()"


def options(plot: Plot | None, height: int) -> Options:
    """Return the panels beneath each other on so many pixels; nothing where there is no plot."""
    panels = plot.panels if plot else []
    weights = (plot and plot.heights) or [1.0] * len(panels)
    room = height - _TOP - _BOTTOM - _GAP * (len(panels) - 1)
    series: list[Options] = []
    grids, shades, top = [], [], float(_TOP)
    for index, (panel, weight) in enumerate(zip(panels, weights, strict=True)):
        size = room * weight / sum(weights)
        grids.append({"left": 52, "right": 12, "top": round(top), "height": round(size)})
        top += size + _GAP
        for mark in panel.marks:
            if isinstance(mark, Matrix):
                shades.append(_visual_map(mark, len(series)))
            if isinstance(mark, Marks | Bars | Matrix):
                series.append(_series(mark, panel) | {"xAxisIndex": index, "yAxisIndex": index})
    if shades:
        grids = [{"left": 8, "right": 8, "top": 8, "bottom": 8, "containLabel": True}]
    marks = [mark for panel in panels for mark in panel.marks if isinstance(mark, Marks)]
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
            "data": list(dict.fromkeys(mark.label for mark in marks if mark.label)),
        },
        "tooltip": {
            "confine": True,
            ":backgroundColor": theme("card"),
            ":borderColor": theme("line"),
            "textStyle": {":color": theme("ink"), "fontSize": 12},
            **({":formatter": "p => p.name"} if shades else {"trigger": "axis"}),
        },
        "axisPointer": {"link": [{"xAxisIndex": "all"}], "lineStyle": {"color": _FAINT}},
        "grid": grids,
        "xAxis": [_axis(panel, panel.x, index, "x") for index, panel in enumerate(panels)],
        "yAxis": [_axis(panel, panel.y, index, "y") for index, panel in enumerate(panels)],
        "series": series,
        **({"visualMap": shades} if shades else {}),
    }


def _axis(panel: Panel, axis: Axis, index: int, name: str) -> Options:
    made: Options = {
        "gridIndex": index,
        "name": axis.label,
        "nameTextStyle": {":color": theme("soft"), "fontSize": 12, "align": "left"},
        "axisLabel": {":color": theme("soft"), "fontSize": 12, "hideOverlap": True},
        "axisLine": {"lineStyle": {"color": _FAINT}},
        "axisTick": {"show": False},
        "splitLine": {"show": name in panel.grid or panel.grid == "both"}
        | {"lineStyle": {"color": _FAINT}},
    }
    if axis.names:
        made |= {"type": "category", "data": list(axis.names), "inverse": name == "y", "name": ""}
        named = {
            "rotate": axis.rotation if name == "x" else 0,
            "width": 120,
            "overflow": "truncate",
        }
        made["axisLabel"] |= named | {"interval": 0 if len(axis.names) <= 30 else "auto"}
        return made
    made |= {"type": "value", "scale": axis.limits is None, "splitNumber": max(2, axis.ticks - 2)}
    if name == "x":
        made |= {"nameLocation": "middle", "nameGap": 28}
        made["nameTextStyle"]["align"] = "center"
    if axis.integer:
        known = np.concatenate([m.x for m in panel.marks if isinstance(m, Marks) and m.width])
        low, high = (known.min(), known.max()) if len(known) else (1, 2)
        made |= {"min": int(low), "max": int(max(high, low + 1)), "minInterval": 1}
    elif axis.limits:
        made |= {"min": max(0.0, math.ceil(axis.limits[0])), "max": _without_margin(axis.limits[1])}
    return made


def _without_margin(limit: float) -> float | None:
    """Return a limit without its margin where it is of the size of per cents."""
    return math.floor(limit / 5) * 5 if limit > 5 else None


def _series(mark: Marks | Bars | Matrix, panel: Panel) -> Options:
    if isinstance(mark, Matrix):
        return _cells(mark)
    if isinstance(mark, Bars):
        look = {"color": mark.color, "barCategoryGap": "5%", "itemStyle": {"opacity": 0.55}}
        return {"type": "bar", "name": panel.y.label, "data": _points(mark.at, mark.lengths)} | look
    data = _points(mark.x, mark.y)
    color = {":color": theme("ink")} if mark.color == INK else {"color": mark.color}
    made: Options = {"name": mark.label or panel.y.label, "data": data, **color}
    if mark.width:
        line: dict[str, Any] = {
            "width": max(mark.width, 1) * 4 / 3,
            "type": "dashed" if mark.dash != "-" else "solid",
        }
        symbol: Options = {"showSymbol": bool(mark.marker), "symbolSize": 5}
        return made | {"type": "line", "lineStyle": line | color} | symbol
    ring = {"color": "transparent", "borderWidth": 2, "borderColor": mark.color}
    style = {"itemStyle": ring if mark.hollow else {"opacity": mark.alpha}}
    symbol = {"symbol": _SYMBOLS.get(mark.marker, "circle"), "symbolSize": 4.5 + mark.size}
    return made | {"type": "scatter", "z": mark.z} | style | symbol


def _points(x: Any, y: Any) -> list[list[float]]:
    pairs = ((float(a), round(float(b), 6)) for a, b in zip(x, y, strict=True))
    return [[int(a) if a.is_integer() else a, b] for a, b in pairs if not math.isnan(b)]


def _cells(mark: Matrix) -> Options:
    shown = mark.values if mark.scale == "linear" else np.sqrt(mark.values)
    data = []
    for row, column in np.argwhere(~np.isnan(mark.values)).tolist():
        value = [
            column,
            row,
            round(float(shown[row, column]), 4),
            round(mark.values[row, column], 1),
        ]
        tip = html.escape(mark.tip(row, column)).replace("\n", "<br>") if mark.tip else ""
        text = {} if mark.texts is None else {"text": mark.texts[row, column]}
        data.append({"value": value, "name": tip, **text})
    label = {"fontSize": 10, ":color": theme("ink"), ":formatter": "p => p.data.text"}
    few = max(mark.values.shape) <= 30
    return {
        "type": "heatmap",
        "data": data,
        "label": {"show": mark.texts is not None, **label},
        "itemStyle": {"borderWidth": 1 if few else 0, ":borderColor": theme("paper")},
        "emphasis": {"itemStyle": {":borderColor": theme("ink")}},
    }


def _visual_map(mark: Matrix, series_index: int) -> Options:
    low, high = (max(0.0, limit) for limit in mark.limits)
    return {
        "show": False,
        "min": low,
        "max": high if mark.scale == "linear" else math.sqrt(high),
        "dimension": 2,
        "seriesIndex": series_index,
        "inRange": {"color": _SHADES[mark.colors]},
    }
