"""Pieces of a run as HTML: pure functions from the report's content to escaped text.

One piece is one element of the page, however many cells it has.
"""

import base64
import html
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from cifarlab.config.findings import Finding
from cifarlab.dashboard.urls import run_url
from cifarlab.report.mistakes import Mistake, png
from cifarlab.report.provenance import Log
from cifarlab.report.settings import Setting
from cifarlab.report.tables import Fact
from cifarlab.system.files import storable
from cifarlab.system.formatting import NOTHING, interval, number, pair, percent

_NUMERIC = set("0123456789.,+-–—% <>")
_UNIT = re.compile("\u00a0(?:ms|s|min|h|MiB|GiB)\\b")
_PROSE = 30  # letters; a longer cell keeps some width on a narrow screen


def text(value: Any) -> str:
    """Return a value as escaped text."""
    return html.escape(storable(str(value)))


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]], *, numbers: bool = True) -> str:
    """Return a table; numbers are aligned on the right, ``Html`` cells are taken as they are."""
    cells = [[_cell(value, numbers) for value in row] for row in rows]
    right = [
        bool(cells) and all(row[column].plain for row in cells) for column in range(len(headers))
    ]
    kinds = ["number" if turned else "" for turned in right]
    head = _line("th", zip(map(text, headers), kinds, strict=True))
    body = "".join(
        _line("td", ((cell.html, kind or cell.kind) for cell, kind in zip(row, kinds, strict=True)))
        for row in cells
    )
    top = f"<thead>{head}</thead>" if any(headers) else ""
    return f'<div class="scroll"><table>{top}<tbody>{body}</tbody></table></div>'


def shaded(
    headers: Sequence[str],
    names: Sequence[str],
    values: Sequence[Sequence[float]],
    words: Callable[[float], str],
) -> str:
    """Return a table of numbers, each on a shade: the greater, the stronger."""
    every = [value for row in values for value in row]
    low, span = min(every), (max(every) - min(every)) or 1.0
    head = _line(
        "th", ((text(word), "number" if column else "") for column, word in enumerate(headers))
    )
    body = "".join(
        f"<tr><td>{text(name)}</td>"
        + "".join(
            f'<td class="number shade" style="--shade:{(value - low) / span:.2f}">'
            f"{text(words(value))}</td>"
            for value in row
        )
        + "</tr>"
        for name, row in zip(names, values, strict=True)
    )
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{body}</tbody></table></div>'


def _line(tag: str, cells: Iterable[tuple[str, str]]) -> str:
    inner = "".join(
        f'<{tag} class="{kind}">{words}</{tag}>' if kind else f"<{tag}>{words}</{tag}>"
        for words, kind in cells
    )
    return f"<tr>{inner}</tr>"


class Html(str):
    """Text that is HTML already."""


def link(address: str, words: str) -> Html:
    """Return a link to a page of ours."""
    return Html(f'<a href="{text(address)}">{text(words)}</a>')


def run_link(column: str, name: str) -> Html:
    """Return a link to a run."""
    return link(run_url(column), name)


class _Cell(NamedTuple):
    """HTML, whether it reads as a number, and what else the style should know of it."""

    html: str
    plain: bool = False
    kind: str = ""


def _cell(value: Any, numbers: bool) -> _Cell:
    if isinstance(value, Html):
        return _Cell(value)
    words = str(value)
    bare = _UNIT.sub("", words).replace("\u00a0", " ").replace(" to ", " ")
    plain = numbers and set(bare) <= _NUMERIC
    return _Cell(text(words), plain, "prose" if len(words) > _PROSE else "")


def big(facts: Sequence[Fact], data: str) -> str:
    """Return the accuracies, large, each with its interval, n and data."""
    return "".join(
        f'<div class="big"><div class="label">{text(fact.label)}, {text(data)}</div>'
        f'<div class="value">{text(fact.value)}</div>'
        f'<div class="soft">{text(fact.note)}</div></div>'
        for fact in facts
    )


def facts(rows: Sequence[Fact]) -> str:
    """Return the rest of the headline."""
    inner = "".join(
        f"<div><dt>{text(row.label)}</dt><dd>{text(row.value)}</dd></div>" for row in rows
    )
    return f"<dl class='facts'>{inner}</dl>"


def findings(items: Sequence[Finding]) -> str:
    """Return what the curves say, and what to do about it."""
    return (
        "<ul class='findings'>"
        + "".join(
            f"<li><strong>{text(f.what)}.</strong> {text(f.why[:1].upper() + f.why[1:])}. "
            f"What to do: {text(f.do)}.</li>"
            for f in items
        )
        + "</ul>"
    )


def class_bars(rows: Sequence[dict[str, Any]]) -> str:
    """Return each class's accuracy with its interval as a bar, best first."""
    known = [row for row in rows if number(row.get("accuracy")) is not None]
    known.sort(key=lambda row: (-float(row["accuracy"]), str(row.get("class"))))
    lines = []
    for row in known:
        low, high = pair(row.get("interval"))
        accuracy = float(row["accuracy"])
        band = ""
        if low is not None and high is not None:
            left, wide = 100 * low, 100 * max(high - low, 0)
            band = f'<span class="band" style="left:{left:.2f}%;width:{wide:.2f}%"></span>'
        tooltip = f"{percent(accuracy)}, 95 % interval {interval(row.get('interval'))}"
        lines.append(
            f'<li title="{text(tooltip)}"><span class="name">{text(row.get("class", "?"))}</span>'
            f'<span class="bar"><span class="fill" style="width:{100 * accuracy:.2f}%"></span>{band}'
            f'</span><span class="amount">{percent(accuracy, 1)}</span></li>'
        )
    return f"<ul class='bars{' many' if len(known) > 20 else ''}'>{''.join(lines)}</ul>"


def probability_bars(rows: Sequence[tuple[str, float]]) -> str:
    """Return the likeliest classes with their probabilities."""
    return class_bars([{"class": name, "accuracy": accuracy} for name, accuracy in rows])


def picture(image: np.ndarray, alt: str, kind: str = "pixels") -> str:
    """Return an image uint8 (h, w, 1 or 3) inside the page, its pixels kept sharp."""
    data = base64.b64encode(png(image)).decode("ascii")
    return f'<img class="{kind}" src="data:image/png;base64,{data}" alt="{text(alt)}">'


def mistakes(items: Sequence[Mistake]) -> str:
    """Return the worst mistakes as a gallery."""
    return gallery(
        (
            [mistake.image],
            f"{mistake.true} → {mistake.predicted}",
            [
                f"{100 * mistake.probability:.1f}\u00a0%, loss\u00a0{mistake.loss:.2f}",
                mistake.name,
            ],
        )
        for mistake in items
    )


def gallery(pictures: Iterable[tuple[Sequence[np.ndarray], str, Sequence[str]]]) -> str:
    """Return a gallery of one image or two side by side, with a title and soft lines each."""
    return (
        "<ul class='gallery'>"
        + "".join(
            f"<li><div class='side'>{''.join(picture(image, title) for image in images)}</div>"
            f"<div class='title'>{text(title)}</div>"
            f"<div class='soft'>{'<br>'.join(map(text, lines))}</div></li>"
            for images, title, lines in pictures
        )
        + "</ul>"
    )


def recipe(settings: Sequence[Setting]) -> str:
    """Return the complete recipe, departures from the defaults marked."""
    lines = []
    for setting in settings:
        words = text(setting.text)
        if setting.default is not None:
            words = (
                f"<mark>{words}</mark>  <span class='soft'># default {text(setting.default)}</span>"
            )
        lines.append(f"{setting.indent}{words}")
    return "<pre class='recipe' tabindex='0'>" + "\n".join(lines) + "</pre>"


def origin(rows: Sequence[tuple[str, str]], logs: Sequence[Log]) -> str:
    """Return where a run comes from."""
    parts = ['<div class="origin">', table(("", ""), rows, numbers=False), "</div>"]
    for log in logs:
        parts.append(f"<h3>{text(log.title)}</h3>")
        filled = table(log.columns, log.rows, numbers=False) if log.rows else ""
        parts.append(filled or f"<p class='soft'>{text(log.empty)}</p>")
    return "".join(parts)


def differences(rows: Sequence[tuple[str, list[str]]], names: Sequence[Html]) -> str:
    """Return what differs between recipes: a setting per row, a run per column."""
    if not rows:
        return "<p>Nothing: all recipes are equal but for their names.</p>"
    cells = [
        [Html(f"<code>{text(path)}</code>"), *(Html(f"<code>{text(v)}</code>") for v in values)]
        for path, values in rows
    ]
    turned = "".join(f"<th>{name}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in cells)
    head = f"<thead><tr><th>setting</th>{turned}</tr></thead>"
    return (
        f'<div class="scroll"><table class="differences">{head}<tbody>{body}</tbody></table></div>'
    )


def warned(words: Iterable[str]) -> str:
    """Return sentences that must not be missed."""
    return "".join(f'<p class="warning" role="alert">{text(line)}</p>' for line in words)


def notes(words: Iterable[str]) -> str:
    """Return sentences that should be read."""
    lines = "".join(f"<p>{text(line)}</p>" for line in words)
    return lines and f'<div class="note">{lines}</div>'


def or_dash(value: Any, form: str) -> str:
    """Return a number by a format, a dash for none."""
    return NOTHING if value is None else format(value, form)
