"""Addresses: one for each run, study and search, stable as long as its folder is."""

from collections.abc import Iterable
from urllib.parse import quote, urlencode


def run_address(place: str) -> str:
    """Where a run is shown in full."""
    return f"/run/{quote(place)}"


def study_address(place: str) -> str:
    """Where a study is shown."""
    return f"/study/{quote(place)}"


def search_address(place: str) -> str:
    """Where a search is shown."""
    return f"/search/{quote(place)}"


def figure_address(place: str) -> str:
    """Where a figure's file is served."""
    return f"/figure/{quote(place)}"


def compare_address(places: Iterable[str]) -> str:
    """Where runs are compared, in this order."""
    return "/compare?" + urlencode([("runs", place) for place in places])


def try_address(place: str | None = None) -> str:
    """Where an image is tried, on that run's network."""
    return "/try" if place is None else "/try?" + urlencode({"run": place})


def list_address(**chosen: str) -> str:
    """The list, with what is searched or chosen in it."""
    given = {key: value for key, value in chosen.items() if value}
    return "/?" + urlencode(given) if given else "/"
