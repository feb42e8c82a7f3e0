"""Try an image: drop, paste or pick one, and see a run's network predict it."""

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from nicegui import events, ui

from cifarlab.dashboard.frame import page_frame, put, section, show_errors
from cifarlab.dashboard.guard import UPLOAD_BYTES
from cifarlab.dashboard.index import Index
from cifarlab.dashboard.urls import page_url, run_link
from cifarlab.plots.images import Item
from cifarlab.report.html import parts
from cifarlab.run_folder.index import Entry
from cifarlab.system.errors import RunFolderError

if TYPE_CHECKING:  # it imports torch
    from cifarlab.dashboard.image_prediction import ImagePrediction

_MEBI = UPLOAD_BYTES // 2**20
_TOO_LARGE = f"That could not be sent: it must be one file of at most {_MEBI} MiB."
_ZONE = (
    "<strong>Drop an image here, paste one, or choose a file</strong>"
    f'<div class="muted">JPEG, PNG, WebP, GIF, BMP, TIFF or PPM, up to {_MEBI} MiB. '
    "It goes to this program alone and is not kept.</div>"
)
_SCRIPT = (Path(__file__).parents[1] / "upload.js").read_text("utf-8")


async def show(index: Index, run: str | None = None) -> None:
    """Show the form for the run at a URL path; by default that is the run that wrote last."""
    with page_frame(index, "Try an image", "Try an image"):
        put("<h1>Try an image</h1>")
        listing = await asyncio.to_thread(index.listing)
        options = _usable_runs(index, listing.runs)
        url_path = next(iter(options), None) if run is None else run
        if url_path is None:
            raise RunFolderError("no run here has a checkpoint to predict with", "train one first")
        path = index.path(url_path, "run")
        select = ui.select(
            {url_path: url_path} | options, value=url_path, label="Run", with_input=True
        )
        select.props("outlined dense options-dense").classes("chooser")
        select.on_value_change(
            lambda event: ui.navigate.to(page_url("/try", run=event.value or url_path))
        )
        _add_form(url_path, path)


def _usable_runs(index: Index, runs: Iterable[Entry]) -> dict[str, str]:
    """Return the runs that have a network as {URL path: label}: finished first, then the newest."""
    options = {}
    for run in sorted(runs, key=lambda run: (not run.is_finished, -run.last_modified)):
        weights = index.path(run.url_path) / "checkpoints"
        if not run.problem and any(weights.glob("*.safetensors")):
            value = run.test if run.test is not None else run.val
            accuracy = "" if value is None else f", {100 * value:.2f} %"
            options[run.url_path] = f"{run.url_path or run.name} ({run.data}{accuracy})"
    return options


def _add_form(url_path: str, path: Path) -> None:
    zone = ui.element("div").classes("zone").props('role=button tabindex=0 data-testid="zone"')
    with zone:
        put(_ZONE)
    answer_area = ui.element("div").props('aria-live=polite data-testid="answer"')

    async def on_upload(event: events.UploadEventArguments) -> None:
        name = event.file.name or "the image"
        blob = await event.file.read()
        answer_area.clear()
        with answer_area, show_errors():
            put('<p class="muted">Looking at {} ...</p>', name)
            start = time.monotonic()
            try:
                result = await asyncio.to_thread(_predict, path, blob, name)
            finally:
                answer_area.clear()
            _add_result(result, name, url_path, time.monotonic() - start)

    def on_rejected() -> None:
        answer_area.clear()
        with answer_area:
            put(parts().warnings([_TOO_LARGE]))

    uploader = ui.upload(
        auto_upload=True, max_file_size=UPLOAD_BYTES, on_upload=on_upload, on_rejected=on_rejected
    ).classes("hidden")
    uploader.on("failed", on_rejected, args=[])
    ui.run_javascript(f"{_SCRIPT} acceptFiles({uploader.id}, {zone.id});")


def _predict(path: Path, blob: bytes, name: str) -> "ImagePrediction":
    from cifarlab.dashboard.image_prediction import predict_image

    return predict_image(path, blob, name)


def _add_result(result: "ImagePrediction", name: str, url_path: str, seconds: float) -> None:
    title = f"What {url_path or 'this run'} takes it for"
    with section(title), ui.element("div").classes("prediction"):
        height, width, channels = result.image.shape
        put(
            '<div class="zoom">{}</div><p class="muted">As the network sees it: {} x {}, {}</p>',
            parts().image(result.image, f"{name} as the network sees it"),
            width,
            height,
            "grey" if channels == 1 else "colour",
        )
        with ui.element("div"):
            bars = parts().bars([(name, p, p, p) for name, p in result.top_classes])
            put(bars, classes="top-classes")
            put('<p class="muted">{} {:.1f} s.</p>', _describe_confidence(result), seconds)
    if result.maps:
        with section("Where it looked"):
            put('<p class="muted">Class-activation maps (Grad-CAM) for the likeliest class.</p>')
            put('<div class="zoom">{}</div>', parts().gallery(result.maps))
    with section("The nearest training images"):
        put('<p class="muted">{}</p>', result.neighbors_note)
        if result.neighbors:
            neighbors = [
                Item([n.image], n.label, [f"distance\u00a0{n.distance:.3f}", n.name])
                for n in result.neighbors
            ]
            put(parts().gallery(neighbors))
            put('<p class="muted">By cosine distance of what enters the last layer.</p>')
    put("<p>{}</p>", run_link(url_path, "The run in full"))


def _describe_confidence(result: "ImagePrediction") -> str:
    views = f"{result.views} view{'' if result.views == 1 else 's'}"
    if result.temperature is None:
        return f"Softmax of the network, not calibrated; {views},"
    return f"Calibrated on validation (temperature {result.temperature:.2f}); {views},"
