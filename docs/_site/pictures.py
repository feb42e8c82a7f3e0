"""Make the pictures of the first hour and the guides, by the commands that these pages show.

    python docs/_site/pictures.py [WORK_FOLDER]

It takes about five minutes on two cores. The report's picture is Chromium's.
"""

import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

DOCS = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(?:sh|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# by page: each picture, and what the page's commands leave that it shows
PICTURES = {
    "first-hour.md": {"first-report.png": "runs/first/report/report.html"},
    "guides/study.md": {
        "study.svg": "runs/studies/changes/figure.svg",
        "evidence.svg": "runs/studies/changes/evidence.svg",
    },
    "guides/search.md": {"search.svg": "runs/searches/rates/figures/rungs.svg"},
    "guides/ship.md": {"certificate.png": "runs/candidate/export/onnx/certificate.html"},
}


def run_page(page: str, folder: Path) -> None:
    """Save a page's files in the folder, and a photo, and run its commands there."""
    Image.new("RGB", (48, 40), "white").save(folder / "photo.png")
    for block in BLOCK.findall((DOCS / page).read_text(encoding="utf-8")):
        if name := re.match(r"# (\w+\.yaml)\n", block):
            (folder / name[1]).write_text(block, encoding="utf-8")
            continue
        for line in block.splitlines():
            words = [sys.executable, "-m", *shlex.split(line)]
            subprocess.run(words, cwd=folder, check=True)


def photograph(page: Path, picture: Path) -> None:
    """Save what a browser of 1000 x 800 pixels shows of a page."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1000, "height": 800})
        tab.goto(page.resolve().as_uri())
        tab.screenshot(path=picture)
        browser.close()


def main() -> None:
    """Make all pictures in a folder of their own, and put them into docs/figures."""
    work = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    for page, pictures in PICTURES.items():
        folder = work / page.replace("/", "-").removesuffix(".md")
        folder.mkdir(parents=True)
        run_page(page, folder)
        for picture, source in pictures.items():
            save = photograph if picture.endswith(".png") else shutil.copyfile
            save(folder / source, DOCS / "figures" / picture)


if __name__ == "__main__":
    main()
