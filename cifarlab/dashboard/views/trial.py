"""Try an image: drop, paste or pick one, and see what a run's network makes of it."""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

from nicegui import events, ui

from cifarlab.dashboard.frame import Site, framed, put, section, show_errors
from cifarlab.dashboard.guard import UPLOAD_BYTES
from cifarlab.dashboard.index import Entry
from cifarlab.dashboard.urls import run_url, try_url
from cifarlab.plots.images import Item
from cifarlab.report.html import parts
from cifarlab.system.errors import RunFolderError

if TYPE_CHECKING:  # it imports torch
    from cifarlab.dashboard.trial import TriedImage

_MEBI = UPLOAD_BYTES // 2**20
_TOO_LARGE = f"That could not be sent: it must be one file of at most {_MEBI} MiB."
# Files from a drop, the clipboard or the picker all go through the one uploader.
_TAKE = """
const uploader = () => getElement(%(uploader)d).$refs.qRef;
const zone = getHtmlElement(%(zone)d);
const take = files => {
  if (!files.length) return;
  uploader().reset();
  uploader().addFiles([files[0]]);
};
const over = on => event => { event.preventDefault(); zone.classList.toggle("over", on); };
document.addEventListener("dragover", over(true));
document.addEventListener("dragleave", over(false));
document.addEventListener("drop", event => {
  over(false)(event);
  take(event.dataTransfer.files);
});
document.addEventListener("paste", event => take(event.clipboardData.files));
zone.addEventListener("click", () => { uploader().reset(); uploader().pickFiles(); });
zone.addEventListener("keydown", event => {
  if (event.key === "Enter" || event.key === " ") { event.preventDefault(); zone.click(); }
});
zone.dataset.ready = "yes";
"""


async def show(site: Site, url_path: str | None) -> None:
    """Show the form for the run at ``url_path``, by default the one that wrote last."""
    with framed(site, "Try an image", "Try an image"), show_errors():
        put("<h1>Try an image</h1>")
        listing = await asyncio.to_thread(site.index.listing)
        usable_runs = {run.url_path: _describe(run) for run in _usable_runs(site, listing.runs)}
        if url_path is None:
            url_path = next(iter(usable_runs), None)
        if url_path is None:
            raise RunFolderError("no run here has a checkpoint to predict with", "train one first")
        path = site.index.path(url_path, "run")
        _run_select(usable_runs, url_path)
        _form(site, url_path, path)


def _usable_runs(site: Site, runs: tuple[Entry, ...]) -> list[Entry]:
    """Return runs with a network, finished ones first, the newest first."""
    readable = [
        run for run in runs if not run.problem and _has_weights(site.index.path(run.url_path))
    ]
    return sorted(readable, key=lambda run: (not run.finished, -run.last_modified))


def _has_weights(path: Path) -> bool:
    return any((path / "checkpoints" / f"{name}.safetensors").exists() for name in ("last", "best"))


def _describe(run: Entry) -> str:
    value = run.test if run.test is not None else run.val
    accuracy = "" if value is None else f", {100 * value:.2f} %"
    return f"{run.url_path or run.name} ({run.data}{accuracy})"


def _run_select(usable_runs: dict[str, str], url_path: str) -> None:
    options = usable_runs if url_path in usable_runs else {**usable_runs, url_path: url_path}
    select = ui.select(options, value=url_path, label="Run", with_input=True)
    select.props("outlined dense options-dense").classes("chooser")
    select.on_value_change(lambda event: ui.navigate.to(try_url(event.value or url_path)))


def _form(site: Site, url_path: str, path: Path) -> None:
    zone = ui.element("div").classes("zone").props('role=button tabindex=0 data-testid="zone"')
    with zone:
        put(
            "<strong>Drop an image here, paste one, or choose a file</strong>"
            f'<div class="soft">JPEG, PNG, WebP, GIF, BMP, TIFF or PPM, up to {_MEBI} MiB. '
            "It goes to this program alone and is not kept.</div>"
        )
    answer_area = ui.element("div").props('aria-live=polite data-testid="answer"')

    async def on_upload(event: events.UploadEventArguments) -> None:
        name = event.file.name or "the image"
        blob = await event.file.read()
        answer_area.clear()
        with answer_area:
            put('<p class="soft">Looking at {} ...</p>', name)
        start = time.monotonic()
        with answer_area, show_errors():
            try:
                result = await asyncio.to_thread(
                    lambda: site.networks.predict_image(path, blob, name)
                )
            finally:
                answer_area.clear()
            _show_result(result, name, url_path, time.monotonic() - start)

    def on_rejected() -> None:
        answer_area.clear()
        with answer_area:
            put(parts().warnings([_TOO_LARGE]))

    uploader = ui.upload(
        auto_upload=True, max_file_size=UPLOAD_BYTES, on_upload=on_upload, on_rejected=on_rejected
    ).classes("hidden")
    uploader.on("failed", on_rejected, args=[])
    ui.run_javascript(_TAKE % {"uploader": uploader.id, "zone": zone.id})


def _show_result(result: "TriedImage", name: str, url_path: str, seconds: float) -> None:
    title = f"What {url_path or 'this run'} takes it for"
    with section(title), ui.element("div").classes("tried"):
        height, width, channels = result.image.shape
        put(
            '<div class="large">{}</div><p class="soft">As the network sees it: {} x {}, {}</p>',
            parts().image(result.image, f"{name} as the network sees it"),
            width,
            height,
            "grey" if channels == 1 else "colour",
        )
        with ui.element("div"):
            put(parts().bars([(name, p, p, p) for name, p in result.likeliest]), kind="likeliest")
            put('<p class="soft">{} {:.1f} s.</p>', _confidence(result), seconds)
    if result.maps:
        with section("Where it looked"):
            put('<p class="soft">Class-activation maps (Grad-CAM) for the likeliest class.</p>')
            maps = [Item([m.picture], m.layer, [m.warning]) for m in result.maps]
            put('<div class="large">{}</div>', parts().gallery(maps))
    with section("The nearest training images"):
        put('<p class="soft">{}</p>', result.neighbours_note)
        if result.neighbours:
            neighbours = [
                Item([n.image], n.label, [f"distance\u00a0{n.distance:.3f}", n.name])
                for n in result.neighbours
            ]
            put(parts().gallery(neighbours))
            put('<p class="soft">By cosine distance of what enters the last layer.</p>')
    put('<p><a href="{}">The run in full</a></p>', run_url(url_path))


def _confidence(result: "TriedImage") -> str:
    views = f"{result.views} view{'' if result.views == 1 else 's'}"
    if result.temperature is None:
        return f"Softmax of the network, not calibrated; {views},"
    return f"Calibrated on validation (temperature {result.temperature:.2f}); {views},"
