"""``cifarlab dashboard`` before it serves: what is refused, and how it says so."""

import hashlib
import socket
import sys
import urllib.request
from pathlib import Path

import pytest
from made_run import digits, make
from made_site import Server

from cifarlab.dashboard.serve import serve
from cifarlab.system.errors import MissingExtraError, RunFolderError, UserError


def test_beyond_this_machine_it_wants_a_password(tmp_path):
    for host in ("0.0.0.0", "::", "192.168.1.2"):
        with pytest.raises(UserError, match="needs a password") as caught:
            serve(tmp_path, host=host, port=0, open_browser=False)
        assert "CIFARLAB_DASHBOARD_PASSWORD" in caught.value.hint
        with pytest.raises(UserError, match="needs a password"):
            serve(tmp_path, host=host, port=0, password="", open_browser=False)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match="there is no folder"):
        serve(tmp_path / "none", port=0, open_browser=False)


def test_a_taken_port_is_refused(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(UserError, match="can't listen") as caught:
            serve(tmp_path, port=taken.getsockname()[1], open_browser=False)
        assert "--port 0" in caught.value.hint


@pytest.mark.parametrize("port", [-1, 70_000])
def test_a_port_that_is_none_is_refused(tmp_path, port):
    with pytest.raises(UserError, match="is no port"):
        serve(tmp_path, port=port, open_browser=False)


def test_an_address_that_is_none_is_refused(tmp_path):
    with pytest.raises(UserError, match="can't listen"):
        serve(tmp_path, host="256.1.1.1", port=0, password="x", open_browser=False)


def test_a_missing_extra_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nicegui", None)
    with pytest.raises(MissingExtraError) as caught:
        serve(tmp_path)
    assert caught.value.hint == "pip install 'cifarlab[dashboard]'"


def make_foreign_run(run: Path, source: str) -> str:
    """A run with a plug-in that nobody approved; the plug-in's hash."""
    sha256 = hashlib.sha256(source.encode()).hexdigest()
    make(run, digits(n=50))
    (run / "plugins").mkdir()
    (run / "plugins" / f"parts-{sha256[:12]}.py").write_text(source)
    recipe = (run / "recipe.yaml").read_text()
    entry = f"plugins:\n- file: parts.py\n  sha256: {sha256}"
    (run / "recipe.yaml").write_text(recipe.replace("plugins: []", entry))
    return sha256


def test_the_plugins_that_are_there_at_the_start_are_trusted_and_no_later_ones(tmp_path):
    first = make_foreign_run(tmp_path / "runs" / "first", "first = 1\n")
    config = tmp_path / "config"
    for options, refused in (((), True), (("--trust-plugins",), False)):
        server = Server(
            tmp_path / "runs", *options, cwd=tmp_path, XDG_CONFIG_HOME=str(config), HOME=str(config)
        )

        def page(address: str = server.address) -> str:
            return urllib.request.urlopen(address).read().decode()

        try:
            assert ("code that you have not approved" in page()) is refused
            if not refused:
                later = make_foreign_run(tmp_path / "runs" / "later", "later = 1\n")
                assert f"SHA-256 {later[:12]}" in page()
        finally:
            server.stop()
    approved = (config / "cifarlab" / "approved_plugins").read_text().splitlines()
    assert [line.split()[0] for line in approved] == [first]
