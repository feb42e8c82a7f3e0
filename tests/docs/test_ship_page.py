"""The guide's way from a photo to an exported graph gives the probabilities of ``predict``."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cifarlab as lab
from cifarlab.exporting.export_run import export_run
from cifarlab.run_folder.folder import RunFolder

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guides" / "ship.md").read_text(encoding="utf-8")
SNIPPET = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[-1]
[CROP] = re.findall(r"photo = (ImageOps\.fit.*)", SNIPPET)
RESIZERS = {"crop": CROP} | dict(re.findall(r"`(pad|stretch)`\s+is\s+`(.*?)`", PAGE))


@pytest.fixture(scope="module")
def exported(finished: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shipped")
    export_run(finished.path, out=folder / "runs" / "candidate" / "export" / "onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (30, 60, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(pixels).save(folder / "photo.png", exif=exif)
    return folder


@pytest.mark.parametrize("mode", ["crop", "pad", "stretch"])
def test_the_snippet_predicts_as_the_run_does(
    mode: str, exported: Path, finished: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(exported)
    names: dict[str, np.ndarray] = {}
    exec(SNIPPET.replace(CROP, RESIZERS[mode]), names)
    expected = lab.predict(finished.path, "photo.png", mode)
    np.testing.assert_allclose(names["probabilities"], expected, atol=1e-5)
    others = [lab.predict(finished.path, "photo.png", other) for other in RESIZERS if other != mode]
    assert min(abs(names["probabilities"] - each.to_numpy()).max() for each in others) > 2e-4
