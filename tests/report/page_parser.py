"""An HTML page as a test reads it: its text, its tables, and every address in it."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

_VOID = {"meta", "img", "br", "link"}


@dataclass
class Page:
    """``tables`` by class: rows of cell texts; ``addresses``: every src, href and the like."""

    text: str = ""
    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    addresses: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    attributes: list[str] = field(default_factory=list)
    marked: list[str] = field(default_factory=list)
    recipe: str = ""
    unclosed: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page, self.open, self.table = Page(), [], None

    def handle_starttag(self, tag, attrs):
        self.page.tags.append(tag)
        for name, value in attrs:
            self.page.attributes.append(name)
            if name in ("src", "href", "srcset", "data", "action", "poster", "xlink:href"):
                self.page.addresses.append(value or "")
        if tag == "br":
            self.page.text += " "
        if tag not in _VOID:
            self.open.append(tag)
        kind = dict(attrs).get("class", "")
        if tag == "table":
            self.table = self.page.tables.setdefault(kind, [])
        elif tag == "tr":
            self.table.append([])
        elif tag in ("td", "th"):
            self.table[-1].append("")
        elif tag == "mark":
            self.page.marked.append("")

    def handle_endtag(self, tag):
        if tag in ("div", "dt", "dd", "p", "li"):
            self.page.text += " "
        if self.open.pop() != tag:
            self.page.unclosed.append(tag)

    def handle_data(self, data):
        data = data.replace("\u00a0", " ")
        if "style" in self.open:
            return
        self.page.text += data
        if "mark" in self.open:
            self.page.marked[-1] += data
        if "pre" in self.open:
            self.page.recipe += data
        if self.open and ("td" in self.open or "th" in self.open):
            self.table[-1][-1] += data


def read(path: Path) -> Page:
    """Parse a report."""
    return parse(path.read_text(encoding="utf-8"))


def parse(text: str) -> Page:
    """Parse a page or a part of one."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    reader.page.unclosed += reader.open
    reader.page.text = " ".join(reader.page.text.split())
    return reader.page
