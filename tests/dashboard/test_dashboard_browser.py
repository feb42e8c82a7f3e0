"""The page in a real browser: every view, an image dropped, a run watched, nothing from elsewhere.

One server and one Chromium for all. No Chromium is a failure, not a skip: ``.ci/run`` installs it.
"""

import base64
import re
import shutil
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from broken_uploads import broken_uploads, encode, noise
from made_site import Server, grow, make_of_recipe, make_site
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from cifarlab.run_folder.folder import RunFolder

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 400, "height": 800}
VIEWS = (
    "/",
    "/?group_by=recipe",
    "/run/cifar-s0",
    "/run/slow-s1",
    "/run/hundred",
    "/run/live",
    "/run/torn",
    "/compare?runs=cifar-s0&runs=slow-s0",
    "/study/studies/made",
    "/search/searches/rates",
    "/try?run=trained",
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, finished: RunFolder) -> Path:
    folder = make_site(tmp_path_factory.mktemp("site") / "runs")
    shutil.copytree(finished.path, folder / "trained")
    return folder


@pytest.fixture(scope="module")
def server(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(root, cwd=tmp_path_factory.mktemp("where"))
    yield started
    code, rest = started.stop()
    assert (code, rest) == (0, "")


class Visit:
    """A tab that notes every request, and every complaint of the browser."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.page: Page = context.new_page()
        self.address, self.requests, self.complaints = address, [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("websocket", lambda socket: self.requests.append(socket.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "console", lambda event: event.type == "error" and self.complaints.append(event.text)
        )

    def go(self, path: str) -> Page:
        self.page.goto(self.address + path)
        expect(self.page.locator(".page")).to_be_visible()
        return self.page

    @property
    def foreign_requests(self) -> list[str]:
        """Requests to any other host, and to another port of this one."""
        own_host = urlsplit(self.address).netloc
        parts = [urlsplit(url) for url in self.requests if not url.startswith(("data:", "blob:"))]
        return [p.geturl() for p in parts if p.netloc != own_host]


@pytest.fixture(params=[WIDE], ids=["wide"])
def visit(browser: Browser, server: Server, request) -> Iterator[Visit]:
    context = browser.new_context(viewport=request.param)
    tab = Visit(context, server.address)
    yield tab
    context.close()
    assert tab.foreign_requests == []
    assert tab.complaints == []


both_widths = pytest.mark.parametrize("visit", [WIDE, NARROW], ids=["1280", "400"], indirect=True)


def no_sideways_scroll(page: Page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@both_widths
def test_each_view_opens_and_asks_nobody_else(visit: Visit) -> None:
    for path in VIEWS:
        page = visit.go(path)
        expect(page.locator("h1, .warning").first).to_be_visible()
        assert no_sideways_scroll(page), path
    hosts = {urlsplit(url).netloc for url in visit.requests} - {""}
    assert len(visit.requests) > 50 and hosts == {urlsplit(visit.address).netloc}


def test_the_list_sorts_and_filters(visit: Visit) -> None:
    page = visit.go("/")
    names = page.locator(".list tbody a")
    expect(names).to_have_count(13)
    page.get_by_role("columnheader", name="validation %").click()
    page.get_by_role("columnheader", name="validation %").click()
    cells = page.locator(".list tbody tr td:nth-child(5)").all_inner_texts()
    values = [float(text) for text in cells if text.strip() != "—"]
    assert values == sorted(values, reverse=True) and len(values) == 12
    page.get_by_label("Search").fill("slow")
    expect(names).to_have_count(3)
    page.get_by_label("Search").fill("")
    expect(names).to_have_count(13)
    page.get_by_label("State").click()
    page.get_by_role("option", name="damaged").click()
    expect(names).to_have_count(1)
    expect(names).to_have_text("torn")


def test_recipes_show_mean_and_spread_and_lead_to_their_runs(visit: Visit) -> None:
    page = visit.go("/?group_by=recipe")
    rows = page.locator(".list tbody tr").filter(has_text="made/up")
    three = rows.filter(has=page.get_by_role("cell", name="3", exact=True))
    expect(three).to_have_count(2)
    three.last.get_by_role("link").click()
    expect(page.locator("h1")).to_have_text(re.compile("^made/up.*: 3 runs$"))
    assert "group=" in page.url


def test_recipes_of_one_name_and_data_are_rows_of_different_names(visit: Visit) -> None:
    page = visit.go("/?group_by=recipe")
    expect(page.locator(".list tbody a").first).to_be_visible()
    rows = page.locator(".list tbody tr").filter(has=page.locator("a")).all()
    names = [(r.locator("a").inner_text(), r.locator("td").nth(8).inner_text()) for r in rows]
    assert len(names) == 5 and len(set(names)) == 5


def test_every_column_fits_a_screen_of_1280_and_others_show_that_there_is_more(
    visit: Visit,
) -> None:
    page = visit.go("/")
    expect(page.locator(".list tbody a")).to_have_count(13)
    page.evaluate("""for (const [what, words] of [
        ["td.name a", "asha2021-classic-s0-bccd0e3c-12"],
        ["td.wide.text-left span", "/home/me/letters-2026"],
      ]) document.querySelectorAll(".list " + what).forEach(cell => cell.textContent = words)""")
    table = page.locator(".list .q-table__middle")
    assert table.evaluate("table => table.scrollWidth <= table.clientWidth")
    assert has_scroll_shadow(page, ".list .q-table__middle") and has_scroll_shadow(page, ".scroll")


def has_scroll_shadow(page: Page, kind: str) -> bool:
    """Whether what goes on beyond an edge is shown by a shadow there."""
    background = page.locator(kind).first.evaluate("box => getComputedStyle(box).backgroundImage")
    return background.count("gradient") == 4


@both_widths
def test_figures_are_shown_at_one_scale_and_stay_readable(visit: Visit) -> None:
    page = visit.go("/search/searches/rates")
    images = page.locator(".sheet img")
    expect(images).to_have_count(2)
    narrow, wide = (box["width"] for box in map(Locator.bounding_box, images.all()) if box)
    assert narrow >= 4.3 * 80 and wide / narrow == pytest.approx(7.4 / 4.3, rel=0.05)
    assert has_scroll_shadow(page, ".sheet")
    assert has_scroll_shadow(visit.go("/run/cifar-s0"), "pre.recipe")
    assert no_sideways_scroll(page)


def test_chosen_runs_are_compared_recipes_first(visit: Visit) -> None:
    page = visit.go("/")
    expect(page.locator(".list tbody a")).to_have_count(13)
    for name in ("cifar-s0", "slow-s0"):
        row = page.locator(".list tbody tr").filter(has=page.get_by_text(name, exact=True))
        row.get_by_role("checkbox").click()
    page.get_by_role("button", name="Compare").click()
    page.wait_for_url("**/compare?*")
    assert "runs=cifar-s0" in page.url and "runs=slow-s0" in page.url
    titles = page.locator(".page h2").all_inner_texts()
    assert titles[0] == "What differs between the recipes"
    expect(page.locator(".differences tbody tr").filter(has_text="optimizer.lr")).to_be_visible()
    expect(page.locator("table.verdicts")).to_contain_text("one pair of runs: no test is possible")
    flips = page.locator("section").filter(has_text="Which images they answer differently")
    expect(flips.locator("table.flips tbody tr")).to_have_count(10)
    expect(flips).to_contain_text("McNemar's exact test")  # one pair of runs
    expect(flips.locator("canvas, svg").first).to_be_visible()


def test_damaged_and_foreign_folders_are_listed_with_their_reason(visit: Visit) -> None:
    page = visit.go("/")
    section = page.locator("section").filter(has_text="can't be read as runs")
    expect(section).to_contain_text("photos")
    expect(section).to_contain_text("it has no recipe.yaml")
    expect(section).to_contain_text("can't read result.json")
    expect(visit.go("/run/torn").locator(".warning")).to_contain_text("result.json")


def test_what_is_not_there_answers_404_with_its_reason(visit: Visit) -> None:
    status_codes: dict[str, int] = {}
    visit.page.on(
        "response", lambda event: status_codes.setdefault(event.request.url, event.status)
    )
    missing = ("/run/none", "/run/photos", "/run/..%2f..%2fetc", "/run//etc", "/study/cifar-s0")
    missing += ("/search/cifar-s0", "/try?run=none")
    for path in missing:
        expect(visit.go(path).locator(".warning").first).to_be_visible()
        assert status_codes[visit.address + path] == 404
    expect(visit.go("/run/photos").locator(".warning")).to_contain_text("no recipe.yaml")
    for path in ("/run/torn", "/run/live", "/study/studies/made", "/search/searches/rates"):
        visit.go(path)
        assert status_codes[visit.address + path] == 200
    visit.complaints.clear()  # the browser's word for each 404


def test_a_visitor_who_leaves_during_an_upload_causes_no_error(visit: Visit) -> None:
    page, requests = visit.go("/try?run=trained"), visit.requests
    expect(page.locator(".zone[data-ready]")).to_be_visible()
    drop(page, encode(noise(), "PNG"), "a.png")
    expect(page.get_by_test_id("answer").locator("img").first).to_be_visible(timeout=30_000)
    path = urlsplit(next(url for url in requests if "/upload/" in url)).path
    port = urlsplit(visit.address).port
    with socket.create_connection(("127.0.0.1", port)) as left:
        left.sendall(
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 5000000\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n".encode()
        )
    visit.go("/")  # the server goes on; that it printed nothing is seen at its end


def test_a_run_is_shown_in_full(visit: Visit, root: Path) -> None:
    page = visit.go("/run/cifar-s0")
    result = RunFolder(root / "cifar-s0").result()
    expect(page.locator(".accuracy .value").first).to_have_text(
        f"{100 * result['test']['accuracy']:.2f}\u00a0%"
    )
    expect(page.locator(".chart")).to_have_count(2)
    expect(page.locator(".chart canvas").first).to_be_visible()
    expect(page.locator(".bars li")).to_have_count(10)
    expect(page.locator(".gallery li")).to_have_count(25)
    expect(page.locator("pre.recipe mark").first).to_be_visible()
    expect(page.locator(".provenance")).to_contain_text("AMD EPYC")


def test_a_full_evaluation_and_an_audit_are_shown(visit: Visit) -> None:
    page = visit.go("/run/slow-s1")
    texts = ("animals", "calibrated", "+0.40 to +2.10", "Out-of-distribution images: digits")
    for words in (*texts, "73.21\u00a0%", "cat → dog", "similarity 0.9912"):
        expect(page.locator(".page")).to_contain_text(words)
    cells = page.get_by_label("shift").evaluate(
        "element => getElement(Number(element.id.slice(1))).chart.getOption().series[0].data"
    )
    assert len(cells) == 4 * 6 and cells[0]["text"] == "85.0" and cells[0]["value"][:2] == [0, 0]
    reliability = page.get_by_label("reliability")
    expect(reliability.locator("canvas")).to_be_visible()
    expect(page.locator(".side").filter(has=page.locator("img + img"))).to_have_count(2)


def test_a_study_shows_its_verdicts_and_a_search_why_it_stopped(visit: Visit) -> None:
    page = visit.go("/study/studies/made")
    table = page.locator("table").first
    expect(table).to_contain_text("the baseline")
    expect(table.locator("tr").filter(has_text="better")).to_contain_text("+2.00")
    page.locator(".sheet img").scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('.sheet img').naturalWidth > 100")
    expect(page.locator(".page")).to_contain_text("failed: the loss became NaN at step 3")
    expect(page.get_by_role("link", name="base-s0")).to_be_visible()
    page = visit.go("/search/searches/rates")
    expect(page.get_by_role("img", name="a b")).to_be_visible()
    expect(page.locator(".page")).to_contain_text(
        "stopped at rung 4: 43.10 %, 45.00 % needed, rank 3 of 5"
    )
    expect(page.get_by_role("link", name="trial-000")).to_be_visible()
    for words in ("the search's number was +1.00 points off", "0.70 to 1.00", "last cut-off"):
        expect(page.locator(".page")).to_contain_text(words)


def test_a_run_in_training_is_watched(visit: Visit, root: Path) -> None:
    page = visit.go("/run/live")
    expect(page.locator(".page")).to_contain_text("10 epochs so far")
    for accuracy in (0.9123, 0.9234):
        epoch = grow(root / "live", accuracy)
        expect(page.locator(".page")).to_contain_text(f"{epoch} epochs so far", timeout=8000)
        expect(page.locator(".accuracy .value")).to_have_text(f"{100 * accuracy:.2f}\u00a0%")
    drawn = page.locator(".chart").first.evaluate(
        "element => getElement(Number(element.id.slice(1))).chart.getOption().series[1].data"
    )
    assert drawn[-1] == [12, 92.34]
    shutil.copy(root / "cifar-s0" / "result.json", root / "live" / "result.json")
    expect(page.locator(".accuracy .label").first).to_contain_text("Test accuracy", timeout=8000)


def drop(page: Page, blob: bytes | int, name: str, how: str = "drop") -> None:
    """Drop a file onto the page, or paste it, as the desktop does; a number is that many zeros."""
    data = blob if isinstance(blob, int) else base64.b64encode(blob).decode()
    page.evaluate(
        """([data, name, how]) => {
          const bytes = typeof data === "number" ? new Uint8Array(data)
            : Uint8Array.from(atob(data), letter => letter.charCodeAt(0));
          const box = new DataTransfer();
          box.items.add(new File([bytes], name, { type: "image/png" }));
          const target = document.querySelector(".zone");
          const event = how === "drop"
            ? new DragEvent("drop", { dataTransfer: box, bubbles: true, cancelable: true })
            : new ClipboardEvent("paste", { clipboardData: box, bubbles: true });
          target.dispatchEvent(event);
        }""",
        [data, name, how],
    )


@both_widths
def test_an_image_is_dropped_pasted_and_picked(visit: Visit) -> None:
    page = visit.go("/try?run=trained")
    expect(page.locator(".zone[data-ready]")).to_be_visible()
    answer = page.get_by_test_id("answer")
    for how in ("drop", "paste"):
        drop(page, encode(noise(), "PNG"), f"{how}.png", how)
        expect(answer.get_by_alt_text(f"{how}.png as the network sees it")).to_be_visible(
            timeout=30_000
        )
    page.locator("input[type=file]").set_input_files(
        {"name": "pick.gif", "mimeType": "image/gif", "buffer": encode(noise(), "GIF")}
    )
    expect(answer.get_by_alt_text("pick.gif as the network sees it")).to_be_visible()
    expect(answer.locator(".top-classes li")).to_have_count(5)
    expect(answer.locator(".zoom .gallery li")).to_have_count(3)  # a map for each layer
    expect(answer.locator(".gallery li")).to_have_count(3 + 8)
    percentages = answer.locator(".top-classes .amount").all_inner_texts()
    values = [float(text.rstrip("%").strip()) for text in percentages]
    assert values == sorted(values, reverse=True) and 0 < sum(values) <= 100.3
    assert no_sideways_scroll(page)


def test_broken_uploads_are_answered_in_the_page(visit: Visit) -> None:
    page = visit.go("/try?run=trained")
    expect(page.locator(".zone[data-ready]")).to_be_visible()
    blobs = broken_uploads()
    for name in ("half a png", "a jpeg of 65,000 x 65,000", "a pdf", "nothing"):
        drop(page, blobs[name], f"{name}.png")
        expect(page.get_by_test_id("answer").locator(".warning")).to_contain_text(f"{name}.png")
    drop(page, 2**24 + 1, "huge.png")
    expect(page.get_by_test_id("answer").locator(".warning")).to_contain_text("at most 16 MiB")


def test_a_run_without_weights_says_so(visit: Visit) -> None:
    page = visit.go("/try?run=digits")
    expect(page.locator(".zone[data-ready]")).to_be_visible()
    drop(page, encode(noise(), "PNG"), "a.png")
    expect(page.get_by_test_id("answer").locator(".warning")).to_contain_text("last.safetensors")


def test_the_server_leaves_nothing_behind(server: Server, root: Path, visit: Visit) -> None:
    visit.go("/")
    assert not list(Path(f"/proc/{server.process.pid}/cwd").resolve().iterdir())
    hidden = [path for path in root.rglob("*") if path.name.startswith(".")]
    assert hidden == [root / "trained" / ".lock"]  # of its training


def test_no_route_answers_outside_its_own_name(server: Server) -> None:
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(server.address + "/", headers=headers))
        assert caught.value.code == 403


def test_with_a_password_the_page_opens_only_to_it(
    root: Path, browser: Browser, tmp_path: Path
) -> None:
    locked = Server(root, "--host", "127.0.0.2", cwd=tmp_path, CIFARLAB_DASHBOARD_PASSWORD="sesame")
    with closing(browser.new_context(viewport=WIDE)) as context:
        tab = Visit(context, locked.address)
        tab.page.goto(f"{locked.address}/run/digits?a=1")
        tab.page.get_by_label("Password").fill("wrong")
        tab.page.get_by_role("button").click()
        expect(tab.page.get_by_role("alert")).to_be_visible()
        tab.page.get_by_label("Password").fill("sesame")
        tab.page.get_by_role("button").click()
        expect(tab.page.locator("h1")).to_have_text("digits")
        assert tab.page.url == f"{locked.address}/run/digits?a=1"
        expect(tab.page.locator(".chart canvas").first).to_be_visible()
        assert tab.foreign_requests == []
    assert locked.stop()[0] == 0


def test_a_report_s_confusion_matrix_stands_beside_ours(visit: Visit, root: Path) -> None:
    make_of_recipe(root / "mixup", "fudan/mixup")
    visit.go("/run/mixup").get_by_text("The confusion matrix of the report").click()
    expect(visit.page.get_by_role("cell", name="865", exact=True)).to_be_visible()
