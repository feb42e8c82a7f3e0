"""What commands that predict do not wait for: importing torch's compiler takes over a second."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cifarlab.run_folder.folder import RunFolder

# Runs a command, then says on standard error whether the compiler was imported on the way.
WATCHED = """
import sys
from cifarlab.cli import app
sys.argv = ["cifarlab", *sys.argv[1:]]
app(standalone_mode=False)
print("torch" in sys.modules, "torch._dynamo" in sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize("words", [["predict", "RUN", "IMAGE"], ["evaluate", "RUN"]], ids=str)
def test_the_compiler_is_not_imported(
    finished: RunFolder, tmp_path: Path, words: list[str]
) -> None:
    image = tmp_path / "7.png"
    Image.fromarray(np.eye(8, dtype=np.uint8) * 200).save(image)
    known = {"RUN": finished.path, "IMAGE": image}
    command = [sys.executable, "-c", WATCHED, *(str(known.get(word, word)) for word in words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout and done.stderr.split()[-2:] == ["True", "False"]
