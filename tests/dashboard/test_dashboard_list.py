"""The list of runs, as the server answers: how often it looks at the folders."""

import subprocess
import sys
from pathlib import Path

from made_run import Plan, make

# NiceGUI allows one application per process.
SERVER = """
import sys, time
from pathlib import Path
from starlette.testclient import TestClient
from cifarlab.run_folder import index
walks, walk = [], index.walk
index.walk = lambda root, *rest: walks.append(root) or walk(root, *rest)
from cifarlab.dashboard.site import build_application
client = TestClient(build_application(Path(sys.argv[1])), base_url="http://127.0.0.1")
with client:
    while not walks:  # the index is filled when the server starts
        time.sleep(0.01)
    for url in ("/", "/?search=a", "/?group_by=recipe"):
        walks.clear()
        assert client.get(url).status_code == 200
        print(len(walks))
"""


def test_a_load_of_the_list_walks_the_folders_once(tmp_path: Path) -> None:
    make(tmp_path / "runs" / "a", Plan(n=100))
    command = [sys.executable, "-c", SERVER, str(tmp_path / "runs")]
    output = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert (output.returncode, output.stdout.split()) == (0, ["1", "1", "1"]), output.stderr
