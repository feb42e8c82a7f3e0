"""URLs: one for each run, study and search, which lasts as long as its folder's path."""

from collections.abc import Iterable
from urllib.parse import quote, urlencode

from markupsafe import Markup


def folder_url(kind: str, url_path: str) -> str:
    """Return the URL of a run, study or search, or of a figure's file."""
    return f"/{kind}/{quote(url_path)}"


def page_url(path: str, **query: str | Iterable[str] | None) -> str:
    """Return the URL of another page of ours; empty values of the query are left out."""
    text = urlencode({key: value for key, value in query.items() if value}, doseq=True)
    return f"{path}?{text}" if text else path


def link(url: str, name: str) -> Markup:
    """Return a link to a page of ours."""
    return Markup('<a href="{}">{}</a>').format(url, name)


def run_link(url_path: str, name: str) -> Markup:
    """Return a link to a run."""
    return link(folder_url("run", url_path), name)
