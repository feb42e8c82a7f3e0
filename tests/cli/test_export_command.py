"""export and export --check as a person types them."""

from pathlib import Path

from command_line import Command

from cifarlab.run_folder.folder import RunFolder


def test_a_run_is_exported_and_checked(
    cifarlab: Command, finished: RunFolder, tmp_path: Path
) -> None:
    output = cifarlab("export", finished.path, "--out", tmp_path / "out")
    assert (output.code, output.err) == (0, "")
    assert "0 predictions flip of 144" in output.out
    file = tmp_path / "out" / "model.onnx"
    assert f"exported: {file}\n" in output.out
    assert output.out.endswith(f"next: cifarlab export {finished.path} --check {file}\n")
    output = cifarlab("export", finished.path, "--check", file)
    assert (output.code, output.err) == (0, "")
    assert f"checked: {file} is the network of {finished.path}" in output.out


def test_a_run_that_is_not_as_measured_ends_with_an_error(
    cifarlab: Command, copied: RunFolder, tmp_path: Path
) -> None:
    result = copied.result()
    result["val"]["accuracy"] *= 0.7
    copied.write_result(result)
    file = tmp_path / "out" / "model.onnx"
    for words in (("--out", file.parent), ("--check", file)):
        output = cifarlab("export", copied.path, *words)
        assert output.code == 2 and "\nNOT AS MEASURED: result.json has" in output.out
        assert "is the network of" not in output.out and "next:" not in output.out
        assert output.err.startswith(f"error: {file} is not certified: {copied.path} no longer has")


def test_what_is_refused_has_two_lines_and_no_file(
    cifarlab: Command, copied: RunFolder, tmp_path: Path
) -> None:
    words = ("--quantize", "int8", "--margin", 0.1, "--out", tmp_path / "out")
    output = cifarlab("export", copied.path, *words)
    assert output.code == 2 and not (tmp_path / "out").exists()
    [what, hint] = output.err.splitlines()
    assert what.startswith("error: the quantized network is not shown to be within 0.1 points")
    assert "--margin" in hint


def test_a_check_takes_no_options_of_an_export(
    cifarlab: Command, finished: RunFolder, tmp_path: Path
) -> None:
    words = ("--check", tmp_path / "model.onnx", "--to", "torch", "--quantize", "int8")
    output = cifarlab("export", finished.path, *words)
    assert output.code == 2
    assert output.err.startswith("error: --to and --quantize would do nothing with --check")
    output = cifarlab("export", finished.path, "--margin", 0.1)
    assert output.code == 2 and "does nothing without --quantize" in output.err
