"""Downloads from a server on this machine that misbehaves in every known way."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from made_sources import as_tar, cifar10_files, md5

from cifarlab.data import cifar, download, paths
from cifarlab.data.opening import open_dataset
from cifarlab.system.errors import DownloadError, StorageError

CONTENT = bytes(range(256)) * 40
KIND = replace(cifar.DATASETS["cifar10"], archive="made.bin", md5=md5(CONTENT), size=len(CONTENT))


class Server:
    """What one mirror does, and the ranges that it was asked for."""

    def __init__(self, content: bytes = CONTENT, **behaviour: object) -> None:
        self.content = content
        self.ranges: list[str | None] = []
        self.status = behaviour.get("status")
        self.breaks_after = behaviour.get("breaks_after")
        self.stalls_after = behaviour.get("stalls_after")
        self.knows_ranges = behaviour.get("knows_ranges", True)
        self.shift = behaviour.get("shift", 0)
        self.released = threading.Event()

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        range_header = handler.headers["Range"]
        self.ranges.append(range_header)
        if self.status:
            handler.send_error(self.status)
            return
        start = int(range_header[6:-1]) + self.shift if range_header and self.knows_ranges else 0
        body = self.content[start:]
        handler.send_response(206 if start else 200)
        if start:
            total = len(self.content)
            handler.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        limit = self.breaks_after or self.stalls_after
        handler.wfile.write(body[: int(limit)] if limit else body)
        if self.stalls_after:
            handler.wfile.flush()
            self.released.wait(10)


@contextmanager
def serving(server: Server) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            server.answer(self)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_port}/"
        finally:
            server.released.set()
            running.shutdown()
            thread.join()


@pytest.fixture
def fetch(tmp_path, monkeypatch):
    """Fetch the made file from the given servers, in their order and no others."""
    monkeypatch.setattr(download, "TIMEOUT_S", 0.5)
    progress: list[tuple[str, int, int | None]] = []

    def fetch_from(*servers: Server, kind: cifar.OfficialDataset = KIND) -> bytes:
        addresses = [serving(server) for server in servers]
        entered = [address.__enter__() for address in addresses]
        monkeypatch.setattr(download, "MIRRORS", tuple(entered))
        try:
            folder = tmp_path / "downloads"
            return download.download_archive(
                kind, folder, lambda *call: progress.append(call)
            ).read_bytes()
        finally:
            for address in addresses:
                address.__exit__(None, None, None)

    fetch_from.part = tmp_path / "downloads/made.bin.part"
    fetch_from.progress = progress
    return fetch_from


def write_part(fetch, content: bytes) -> None:
    fetch.part.parent.mkdir()
    fetch.part.write_bytes(content)


def test_a_whole_download(fetch):
    server = Server()
    assert fetch(server) == CONTENT
    assert server.ranges == [None] and not fetch.part.exists()
    assert fetch.progress[-1] == ("downloading made.bin", len(CONTENT), len(CONTENT))
    assert fetch(server) == CONTENT and len(server.ranges) == 1, "the second time asks nobody"


def test_a_broken_connection_is_continued_by_the_next_mirror(fetch):
    second = Server()
    assert fetch(Server(breaks_after=1000), second) == CONTENT
    assert second.ranges == ["bytes=1000-"]


def test_a_stalled_connection_is_continued_by_the_next_mirror(fetch):
    second = Server()
    assert fetch(Server(stalls_after=1000), second) == CONTENT
    assert len(second.ranges) == 1


def test_a_broken_download_is_continued_by_the_next_start(fetch):
    with pytest.raises(DownloadError, match="broke at 1,000 of 10,240 bytes"):
        fetch(Server(breaks_after=1000))
    second_server = Server()
    assert fetch(second_server) == CONTENT and second_server.ranges == ["bytes=1000-"]


def test_a_server_that_ignores_ranges_starts_over(fetch):
    write_part(fetch, CONTENT[:1000])
    assert fetch(Server(knows_ranges=False)) == CONTENT


def test_a_server_with_another_range_is_left(fetch):
    write_part(fetch, CONTENT[:1000])
    with pytest.raises(DownloadError, match="another range"):
        fetch(Server(shift=5))
    assert fetch.part.read_bytes() == CONTENT[:1000]


def test_mirrors_that_refuse_are_passed_over(fetch):
    assert fetch(Server(status=404), Server(status=503), Server()) == CONTENT


def test_a_wrong_checksum_goes_to_the_next_mirror(fetch):
    wrong = Server(bytes(len(CONTENT)))
    second = Server()
    assert fetch(wrong, second) == CONTENT
    assert second.ranges == [None], "nothing of the wrong file is kept"


def test_a_wrong_beginning_is_not_held_against_the_mirror(fetch):
    write_part(fetch, bytes(1000))
    server = Server()
    assert fetch(server) == CONTENT and server.ranges == ["bytes=1000-", None]


@pytest.mark.parametrize("size", [len(CONTENT), len(CONTENT) + 5])
def test_a_wrong_file_of_full_size_is_fetched_again(fetch, size):
    write_part(fetch, bytes(size))
    assert fetch(Server()) == CONTENT


def test_a_complete_part_needs_no_server(fetch):
    write_part(fetch, CONTENT)
    server = Server()
    assert fetch(server) == CONTENT and server.ranges == []


def test_an_endless_answer_is_cut_off(fetch):
    with pytest.raises(DownloadError, match="another checksum"):
        fetch(Server(CONTENT * 1000))
    assert not fetch.part.exists()


def test_the_error_names_each_mirror_its_reason_and_the_way_out(fetch):
    with pytest.raises(DownloadError) as caught:
        fetch(Server(status=404), Server(bytes(len(CONTENT))), Server(breaks_after=10))
    for reason in ("404", "another checksum", "broke at 10"):
        assert reason in caught.value.what
    assert caught.value.what.count("http://127.0.0.1:") == 3
    assert "CIFARLAB_DATA" in caught.value.hint and download.OFFICIAL in caught.value.hint
    assert "\n" not in caught.value.what + caught.value.hint


def test_nobody_there(fetch, monkeypatch):
    monkeypatch.setenv("CIFARLAB_MIRRORS", "http://127.0.0.1:9/ not-an-address")
    with pytest.raises(DownloadError) as caught:
        fetch()
    assert "http://127.0.0.1:9/: " in caught.value.what and "not-an-address/" in caught.value.what


def test_own_mirrors_come_first(monkeypatch):
    assert download.mirror_urls() == download.MIRRORS
    monkeypatch.setenv("CIFARLAB_MIRRORS", "http://a/x  http://b/")
    assert download.mirror_urls() == ("http://a/x/", "http://b/", *download.MIRRORS)


def test_an_unwritable_folder_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        download.download_archive(KIND, tmp_path / "file/downloads", lambda *_: None)


def test_an_unwritable_cache_says_what_to_set(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CIFARLAB_CACHE", str(tmp_path / "file/cache"))
    with pytest.raises(StorageError) as caught:
        open_dataset("cifar10")
    assert "CIFARLAB_CACHE" in caught.value.hint


def test_cifar10_is_downloaded_once_on_demand(tmp_path, monkeypatch, cache):
    content = as_tar(tmp_path / "made.tar.gz", cifar10_files()).read_bytes()
    kind = replace(cifar.DATASETS["cifar10"], md5=md5(content), size=len(content))
    monkeypatch.setitem(paths.DATASETS, "cifar10", kind)
    server = Server(content)
    with serving(server) as address:
        monkeypatch.setattr(download, "MIRRORS", (address,))
        first = open_dataset("cifar10")
    assert first.name == str(cache / "downloads/cifar-10-python.tar.gz")  # made, not published
    assert open_dataset("cifar10").split_names == ("train", "test")
    assert len(server.ranges) == 1
    assert (cache / "downloads/cifar-10-python.tar.gz").is_file()
