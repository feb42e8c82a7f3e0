"""``cifarlab dashboard`` before it serves: what is refused, and how it says so."""

import socket
import sys

import pytest

from cifarlab.dashboard.serve import serve
from cifarlab.system.errors import MissingExtraError, RunFolderError, UserError


def test_beyond_this_machine_it_wants_a_password(tmp_path):
    for host in ("0.0.0.0", "::", "192.168.1.2"):
        with pytest.raises(UserError, match="needs a password") as caught:
            serve(tmp_path, host=host, port=0, show=False)
        assert "CIFARLAB_DASHBOARD_PASSWORD" in caught.value.hint
        with pytest.raises(UserError, match="needs a password"):
            serve(tmp_path, host=host, port=0, password="", show=False)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match="there is no folder"):
        serve(tmp_path / "none", port=0, show=False)


def test_a_taken_port_is_refused(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(UserError, match="can't listen") as caught:
            serve(tmp_path, port=taken.getsockname()[1], show=False)
        assert "--port 0" in caught.value.hint


@pytest.mark.parametrize("port", [-1, 70_000])
def test_a_port_that_is_none_is_refused(tmp_path, port):
    with pytest.raises(UserError, match="is no port"):
        serve(tmp_path, port=port, show=False)


def test_an_address_that_is_none_is_refused(tmp_path):
    with pytest.raises(UserError, match="can't listen"):
        serve(tmp_path, host="256.1.1.1", port=0, password="x", show=False)


def test_a_missing_extra_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nicegui", None)
    with pytest.raises(MissingExtraError) as caught:
        serve(tmp_path)
    assert caught.value.hint == "pip install 'cifarlab[dashboard]'"
