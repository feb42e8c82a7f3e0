"""Addresses: one for each run, study and search, stable as long as its folder is."""

from collections.abc import Iterable
from urllib.parse import quote, urlencode

from markupsafe import Markup


def folder_url(kind: str, url_path: str) -> str:
    """Return the URL of a run, study or search, or of a figure's file."""
    return f"/{kind}/{quote(url_path)}"


def page_url(path: str, **chosen: str | Iterable[str] | None) -> str:
    """Return the URL of another page of ours, with what is searched or chosen in it."""
    query = urlencode({key: value for key, value in chosen.items() if value}, doseq=True)
    return f"{path}?{query}" if query else path


def link(address: str, name: str) -> Markup:
    """Return a link to a page of ours."""
    return Markup('<a href="{}">{}</a>').format(address, name)


def run_link(url_path: str, name: str) -> Markup:
    """Return a link to a run."""
    return link(folder_url("run", url_path), name)
