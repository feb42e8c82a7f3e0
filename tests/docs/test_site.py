"""The site: built with warnings as errors, complete, without another host, searched, looked at.

It is opened as files, as somebody does who has just built it.
"""

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from chromium import open_browser

import cifarlab

ROOT = Path(__file__).parents[2]
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "srcset", "object": "data"}


class Page(HTMLParser):
    """What a page loads by itself, where its links lead, and the anchors that it has."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors = {""}
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors.add(values.get("id", ""))
        if tag == "a":
            self.links.append(values.get("href", ""))
        elif tag == "link" and values.get("rel") not in ("search", "index", "next", "prev"):
            self.loads.append(values["href"])
        elif tag in LOADED:
            self.loads.append(values.get(LOADED[tag], ""))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    words = ["-q", "-W", "--keep-going", "-d", folder / "doctrees", ROOT / "docs", folder / "html"]
    settings = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    command = [sys.executable, "-m", "sphinx", *map(str, words)]
    outcome = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=300)
    assert outcome.returncode == 0, outcome.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {file: Page(file) for file in site.rglob("*.html") if "_static" not in file.parts}


@pytest.fixture(scope="module")
def browser(site: Path) -> Iterator[object]:
    with open_browser() as browser:
        yield browser


def test_every_page_of_docs_is_there(site: Path) -> None:
    for file in (ROOT / "docs").rglob("*.md"):
        path = file.relative_to(ROOT / "docs").with_suffix(".html")
        assert (site / path).exists() or file.name == "findings.md", path
    assert (site / "guides" / "data-to-verdict.html").exists()


def test_no_page_loads_anything_from_another_host(site: Path, pages: dict[Path, Page]) -> None:
    loads = {url for page in pages.values() for url in page.loads}
    assert any("searchindex.js" in url for url in loads) and any(".css" in url for url in loads)
    assert not {url for url in loads if urlsplit(url).scheme not in ("", "data") or "//" in url[:2]}
    for file in site.rglob("*.css"):
        urls = re.findall(r"""(?:url\(|@import)\s*["']?(.*?)["')]""", file.read_text("utf-8"))
        assert not [url for url in urls if re.match(r"(https?:)?//", url)], file.name


def test_links_lead_somewhere(pages: dict[Path, Page]) -> None:
    broken, count = [], 0
    for file, page in pages.items():
        for link in page.links:
            scheme, host, path, _, fragment = urlsplit(link)
            if scheme or host:
                continue
            target = (file.parent / unquote(path)).resolve() if path else file
            anchors = pages[target].anchors if target in pages else {"", fragment}
            count += 1
            if not target.exists() or unquote(fragment) not in anchors:
                broken.append(f"{file.name}: {link}")
    assert count > 1000 and not broken


def test_every_command_option_key_and_name_is_listed(pages: dict[Path, Page], site: Path) -> None:
    made = importlib.import_module("made_pages")
    commands = pages[site / "commands.html"].anchors
    walked = list(made.walk_commands())
    assert {"cifarlab train", "cifarlab runs", "cifarlab runs list"} <= {name for name, _ in walked}
    for name, command in walked:
        slug = name.replace(" ", "-")
        assert slug in commands
        options = [param for param in command.params if param.param_type_name == "option"]
        names = [name.strip("-") for option in options for name in option.opts]
        assert not [name for name in names if f"cmdoption-{slug}-{name}" not in commands]
    entries = {anchor.partition("-")[2] for anchor in pages[site / "keys.html"].anchors}
    listed = entries | {entry.partition("-")[0] for entry in entries}  # "model.init-airbench"
    # in a process of its own: here, a test may have defined kinds
    command = "from cifarlab.recipes.keys import keys; print(*{key.path for key in keys()})"
    words = [sys.executable, "-c", command]
    paths = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    assert len(paths) > 100 and not set(paths) - listed
    parts = dict(made.kinds_beside_recipes())
    assert {"callback", "trial sampler", "trial scheduler", "dimension"} <= set(parts)
    for part, kinds in parts.items():
        of_kinds = {setting for kind in kinds.values() for setting, *_ in made.settings(kind)}
        names = {f"{part}-{setting}".replace(" ", "-") for setting in {"kind", *of_kinds}}
        assert not [name for name in names if not any(e.startswith(name) for e in entries)]
    assert {f"cifarlab.{name}" for name in cifarlab.__all__} <= pages[site / "api.html"].anchors
    # defaults are as they are written
    for page in ("keys", "api"):
        text = (site / f"{page}.html").read_text(encoding="utf-8")
        assert not re.search(r"PosixPath|built-in function|Decimal\(|kind=|=inf\b", text)
    # napoleon takes a colon in a property's first line for the end of its type
    assert 'Type<span class="colon">' not in (site / "api.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [1280, 400])
def test_pages_fit_and_ask_nothing(
    browser, site: Path, pages: dict[Path, Page], width: int
) -> None:
    tab = browser.new_page(viewport={"width": width, "height": 900})
    requests, errors = [], []
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("pageerror", lambda error: errors.append(error))
    for page in pages:
        tab.goto(page.as_uri())
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, page
        broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src)"
        assert not tab.evaluate(broken), page
    assert len(requests) > len(pages) > 30
    assert not [url for url in requests if not url.startswith(("file:", "data:"))]
    assert not errors


@pytest.mark.parametrize(
    "words, page, anchor",
    [
        ("label smoothing", "keys.html", "loss.label_smoothing"),
        ("until decided", "guides/study.html", ""),
        ("--first-seed", "commands.html", "first-seed"),
        ("TrainedRun", "api.html", "cifarlab.TrainedRun"),
    ],
)
def test_the_search_finds(browser, site: Path, words: str, page: str, anchor: str) -> None:
    tab = browser.new_page()
    tab.goto(f"{(site / 'search.html').as_uri()}?q={words}")
    tab.wait_for_selector("#search-results li a")
    tab.wait_for_function(
        "!document.querySelector('#search-progress')?.textContent.includes('...')"
    )
    links = tab.eval_on_selector_all("#search-results li a", "links => links.map(l => l.href)")
    assert [link for link in links if page in link and anchor in link], links


def test_the_pictures_are_those_of_the_script() -> None:
    made = importlib.import_module("pictures").PICTURES
    for page, pictures in made.items():
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        assert set(re.findall(r"figures/([\w.-]+)\)", text)) == set(pictures)
        assert all((ROOT / "docs" / "figures" / name).stat().st_size for name in pictures)
