"""Addresses: one for each run, study and search, stable as long as its folder is."""

from collections.abc import Iterable
from urllib.parse import quote, urlencode

from markupsafe import Markup


def run_url(url_path: str) -> str:
    """Return the URL of a run."""
    return f"/run/{quote(url_path)}"


def link(address: str, name: str) -> Markup:
    """Return a link to a page of ours."""
    return Markup('<a href="{}">{}</a>').format(address, name)


def run_link(url_path: str, name: str) -> Markup:
    """Return a link to a run."""
    return link(run_url(url_path), name)


def study_url(url_path: str) -> str:
    """Return the URL of a study."""
    return f"/study/{quote(url_path)}"


def search_url(url_path: str) -> str:
    """Return the URL of a search."""
    return f"/search/{quote(url_path)}"


def figure_url(url_path: str) -> str:
    """Return the URL of a figure's file."""
    return f"/figure/{quote(url_path)}"


def compare_url(url_paths: Iterable[str]) -> str:
    """Return the URL of a comparison of runs, in this order."""
    return "/compare?" + urlencode([("runs", url_path) for url_path in url_paths])


def try_url(url_path: str | None = None) -> str:
    """Return the URL of the form that tries an image on that run's network."""
    return "/try" if url_path is None else "/try?" + urlencode({"run": url_path})


def list_url(**filters: str) -> str:
    """Return the URL of the list, with what is searched or chosen in it."""
    query = {key: value for key, value in filters.items() if value}
    return "/?" + urlencode(query) if query else "/"
