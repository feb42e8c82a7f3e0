"""What --check finds out about a file and the certificate beside it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from exported_runs import perturb_weights

from cifarlab.exporting import export_run as module
from cifarlab.exporting.export_run import ExportedFile, check_export
from cifarlab.exporting.formats import FORMATS
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import ExportError, UserError
from cifarlab.training.train import train


def test_a_checked_file_is_measured_anew(finished: RunFolder, exported: ExportedFile) -> None:
    figures = check_export(exported.path, finished.path)
    for key in ("images", "facts", "margin_points", "measured", "against_run", "against_float32"):
        assert figures[key] == exported.certificate[key]
    assert figures["status"] == exported.certificate["status"] == "certified"


@pytest.mark.parametrize("spoiled", ["margin_points", "facts"])
def test_a_certificate_that_says_other_than_its_file_is_refused(
    finished: RunFolder, spoilable: ExportedFile, spoiled: str
) -> None:
    other = {"margin_points": 90, "facts": spoilable.certificate["facts"] | {"quantize": "int8"}}
    forged = spoilable.certificate | {spoiled: other[spoiled]}
    spoilable.path.with_name("certificate.json").write_text(json.dumps(forged))
    with pytest.raises(ExportError, match="does not say what the file itself says"):
        check_export(spoilable.path, finished.path)


def write_facts(exported: ExportedFile, changes: dict) -> None:
    """Change what a file says of itself, and its certificate with it."""
    facts = exported.certificate["facts"] | changes
    content = FORMATS["onnx"].add_facts(exported.path.read_bytes(), facts)
    exported.path.write_bytes(content)
    file = exported.certificate["file"] | {"sha256": module._digest(content)}
    forged = exported.certificate | {"facts": facts, "file": file}
    exported.path.with_name("certificate.json").write_text(json.dumps(forged))


def test_what_a_file_says_of_itself_is_checked(
    finished: RunFolder, spoilable: ExportedFile
) -> None:
    facts = spoilable.certificate["facts"]
    # written by a version before a key was added
    recipe = {key: value for key, value in facts["recipe"].items() if key != "evaluation"}
    write_facts(spoilable, {"cifarlab": "0.1.9", "recipe": recipe})
    check_export(spoilable.path, finished.path)
    write_facts(spoilable, {"recipe": facts["recipe"] | {"seed": 9}})
    with pytest.raises(ExportError, match=r"is of another run than .*: recipe differ"):
        check_export(spoilable.path, finished.path)
    write_facts(spoilable, {"accuracy": facts["accuracy"] | {"accuracy": 1.0}})
    with pytest.raises(ExportError, match=r"says of itself 100\.00.%, and has"):
        check_export(spoilable.path, finished.path)


@pytest.mark.parametrize("killed", ["write_bytes", "write_text", "write_json"])
def test_an_export_that_is_killed_leaves_no_certificate_of_the_former(
    finished: RunFolder, spoilable: ExportedFile, monkeypatch: pytest.MonkeyPatch, killed: str
) -> None:
    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, killed, kill)
    with pytest.raises(KeyboardInterrupt):
        module._write(spoilable.path, b"new", spoilable.certificate)
    assert not spoilable.path.with_name("certificate.json").exists()
    with pytest.raises(ExportError, match="is not the file that the certificate"):
        check_export(spoilable.path, finished.path)


def test_a_changed_file_is_refused(finished: RunFolder, spoilable: ExportedFile) -> None:
    file = spoilable.path
    file.write_bytes(perturb_weights(file.read_bytes(), 0.01))
    with pytest.raises(ExportError, match="is not the file that the certificate"):
        check_export(file, finished.path)
    certificate = file.with_name("certificate.json")  # and where that is forged, too
    forged = spoilable.certificate | {"file": {"sha256": module._digest(file.read_bytes())}}
    certificate.write_text(json.dumps(forged))
    with pytest.raises(ExportError, match="is not the run's: a logit differs by"):
        check_export(file, finished.path)
    certificate.unlink()
    with pytest.raises(ExportError, match="is not the file that the certificate"):
        check_export(file, finished.path)


def test_a_file_of_another_run_is_refused(
    finished: RunFolder, exported: ExportedFile, tiny: Callable[..., Recipe], tmp_path: Path
) -> None:
    other = RunFolder(tmp_path / "other")
    train(tiny({"seed": 1, "training.duration": "1 epoch"}), other, callbacks=())
    with pytest.raises(ExportError, match=r"is of another run than .* weights_sha256"):
        check_export(exported.path, other.path)


@pytest.mark.parametrize("name", ["notes.txt", "none.onnx", "empty.onnx"])
def test_what_is_no_exported_file_is_refused(
    finished: RunFolder, tmp_path: Path, name: str
) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "certificate.json").write_text(
        json.dumps({"file": {"sha256": module._digest(b"")}})
    )
    with pytest.raises(UserError, match=r"no exported network|can't read|can't be read"):
        check_export(tmp_path / name, finished.path)
