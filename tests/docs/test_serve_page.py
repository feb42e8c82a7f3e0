"""The page about the server: its commands, its figures."""

from pathlib import Path

from cifarlab.exporting.export_run import export_run
from cifarlab.run_folder.folder import RunFolder

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")


def test_its_commands_work(finished: RunFolder, tmp_path: Path) -> None:
    export_run(finished.path, out=tmp_path / "runs" / "digits" / "export" / "onnx")
    (tmp_path / "photo.png").write_bytes((ROOT / "docs" / "figures" / "made.png").read_bytes())
