"""Try an image: drop, paste or pick one, and see what a run's network makes of it."""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

from nicegui import events, ui

from cifarlab.dashboard import html as markup
from cifarlab.dashboard.frame import Site, framed, put, said, section
from cifarlab.dashboard.guard import UPLOAD_BYTES
from cifarlab.dashboard.index import Entry
from cifarlab.dashboard.urls import run_address, try_address
from cifarlab.system.errors import RunFolderError

if TYPE_CHECKING:  # it imports torch
    from cifarlab.dashboard.trial import Tried

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


async def show(site: Site, place: str | None) -> None:
    """The form for the run at ``place``, by default the one that wrote last."""
    with framed(site, "Try an image", "Try an image"), said():
        put("<h1>Try an image</h1>")
        listing = await asyncio.to_thread(site.index.listing)
        able = {run.place: _told(run) for run in _able(site, listing.runs)}
        if place is None:
            place = next(iter(able), None)
        if place is None:
            raise RunFolderError("no run here has a checkpoint to predict with", "train one first")
        path = site.index.path(place, "run")
        _chooser(able, place)
        _form(site, place, path)


def _able(site: Site, runs: tuple[Entry, ...]) -> list[Entry]:
    """Runs with a network, finished ones first, the newest first."""
    whole = [run for run in runs if not run.problem and _has_weights(site.index.path(run.place))]
    return sorted(whole, key=lambda run: (not run.finished, -run.heard))


def _has_weights(path: Path) -> bool:
    return any((path / "checkpoints" / f"{name}.safetensors").exists() for name in ("last", "best"))


def _told(run: Entry) -> str:
    share = run.test if run.test is not None else run.val
    accuracy = "" if share is None else f", {100 * share:.2f} %"
    return f"{run.place or run.name} ({run.data}{accuracy})"


def _chooser(able: dict[str, str], place: str) -> None:
    options = able if place in able else {**able, place: place}
    select = ui.select(options, value=place, label="Run", with_input=True)
    select.props("outlined dense options-dense").classes("chooser")
    select.on_value_change(lambda event: ui.navigate.to(try_address(event.value or place)))


def _form(site: Site, place: str, path: Path) -> None:
    zone = ui.element("div").classes("zone").props('role=button tabindex=0 data-testid="zone"')
    with zone:
        put(
            "<strong>Drop an image here, paste one, or choose a file</strong>"
            f'<div class="soft">JPEG, PNG, WebP, GIF, BMP, TIFF or PPM, up to {_MEBI} MiB. '
            "It goes to this program alone and is not kept.</div>"
        )
    answer = ui.element("div").props('aria-live=polite data-testid="answer"')

    async def uploaded(event: events.UploadEventArguments) -> None:
        name = event.file.name or "the image"
        blob = await event.file.read()
        answer.clear()
        with answer:
            put(f'<p class="soft">Looking at {markup.text(name)} ...</p>')
        began = time.monotonic()
        with answer, said():
            try:
                tried = await asyncio.to_thread(lambda: site.networks.tried(path, blob, name))
            finally:
                answer.clear()
            _answered(tried, name, place, time.monotonic() - began)

    def refused() -> None:
        answer.clear()
        with answer:
            put(markup.warned([_TOO_LARGE]))

    uploader = ui.upload(
        auto_upload=True, max_file_size=UPLOAD_BYTES, on_upload=uploaded, on_rejected=refused
    ).classes("hidden")
    uploader.on("failed", refused, args=[])
    ui.run_javascript(_TAKE % {"uploader": uploader.id, "zone": zone.id})


def _answered(tried: "Tried", name: str, place: str, seconds: float) -> None:
    title = f"What {place or 'this run'} takes it for"
    with section(title), ui.element("div").classes("tried"):
        height, width, channels = tried.image.shape
        shown = markup.picture(tried.image, f"{name} as the network sees it")
        colour = "grey" if channels == 1 else "colour"
        put(
            f'<div class="large">{shown}</div>'
            f'<p class="soft">As the network sees it: {width} x {height}, {colour}</p>'
        )
        with ui.element("div"):
            put(markup.share_bars(tried.likeliest), "likeliest")
            put(f'<p class="soft">{_confidence(tried)} {seconds:.1f} s.</p>')
    if tried.maps:
        with section("Where it looked"):
            put('<p class="soft">Class-activation maps (Grad-CAM) for the likeliest class.</p>')
            rows = [([m.picture], m.layer, [m.warning]) for m in tried.maps]
            put(f'<div class="large">{markup.gallery(rows)}</div>')
    with section("The nearest training images"):
        put(f'<p class="soft">{markup.text(tried.neighbours_note)}</p>')
        if tried.neighbours:
            rows = [
                ([n.image], n.label, [f"distance\u00a0{n.distance:.3f}", n.name])
                for n in tried.neighbours
            ]
            put(markup.gallery(rows))
            put('<p class="soft">By cosine distance of what enters the last layer.</p>')
    put(f'<p><a href="{run_address(place)}">The run in full</a></p>')


def _confidence(tried: "Tried") -> str:
    views = f"{tried.views} view{'' if tried.views == 1 else 's'}"
    if tried.temperature is None:
        return f"Softmax of the network, not calibrated; {views},"
    return f"Calibrated on validation (temperature {tried.temperature:.2f}); {views},"
