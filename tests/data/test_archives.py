"""Hostile and damaged archives: refused by name, nothing is written outside the cache."""

import io
import os
import socket
import struct
import tarfile
import tracemalloc
import zipfile

import pytest
from made_sources import as_folder, as_tar, as_zip, class_folders, png

from cifarlab.data import archives
from cifarlab.data.opening import open_dataset
from cifarlab.system.errors import DataError

FILES = class_folders({"train": 2, "test": 1})


def refusal(source) -> str:
    with pytest.raises(DataError) as caught:
        open_dataset(str(source))
    return str(caught.value)


@pytest.mark.parametrize("name", ["../x.png", "train/../../x.png", "/etc/x.png", "C:/x.png"])
@pytest.mark.parametrize("write", [as_tar, as_zip])
def test_paths_that_lead_out_are_refused(tmp_path, name, write):
    archive = write(tmp_path / ("a.zip" if write is as_zip else "a.tar"), FILES | {name: png()})
    message = refusal(archive)
    assert name in message and "leads out of the archive" in message


def test_backslashes_of_a_zip_are_slashes(tmp_path):
    archive = as_zip(tmp_path / "a.zip", FILES | {"..\\x.png": png()})
    assert "leads out" in refusal(archive)
    good = {name.replace("/", "\\"): blob for name, blob in FILES.items()}
    assert open_dataset(str(as_zip(tmp_path / "b.zip", good))).classes == ("cat", "dog")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_of_a_tar_are_refused(tmp_path, kind):
    info = tarfile.TarInfo("train/cat/link.png")
    info.type, info.linkname = kind, "/etc/passwd"
    message = refusal(as_tar(tmp_path / "a.tar", FILES, extra=(info,)))
    assert "train/cat/link.png" in message and "is a link, sparse or a device" in message


def test_links_of_a_zip_are_refused(tmp_path):
    archive = as_zip(tmp_path / "a.zip", FILES)
    with zipfile.ZipFile(archive, "a") as file:
        info = zipfile.ZipInfo("train/cat/link.png")
        info.external_attr = 0o120777 << 16
        file.writestr(info, "/etc/passwd")
    assert "'train/cat/link.png' is a link" in refusal(archive)


def test_an_encrypted_zip_is_refused(tmp_path):
    archive = as_zip(tmp_path / "a.zip", FILES)
    content = bytearray(archive.read_bytes())
    central = content.rindex(b"PK\x01\x02")
    content[central + 8] |= 1
    archive.write_bytes(content)
    assert "is encrypted\nunpack it" in refusal(archive)


def test_a_zip_that_lies_about_its_content_is_damaged(tmp_path):
    archive = as_zip(tmp_path / "a.zip", FILES)
    content = bytearray(archive.read_bytes())
    central = content.index(b"PK\x01\x02")
    content[central + 16 : central + 20] = struct.pack("<I", 12345)  # the checksum
    archive.write_bytes(content)
    assert "can't be read" in refusal(archive)


def test_large_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBER_BYTES", 50)
    for archive in (as_tar(tmp_path / "a.tar.gz", FILES), as_zip(tmp_path / "a.zip", FILES)):
        assert "over 50\nremove it" in refusal(archive)


def test_a_bomb_of_zeros_is_refused_before_it_inflates(tmp_path):
    header = tarfile.TarInfo("train/cat/bomb.png")
    header.size = 2**40
    path = tmp_path / "a.tar"
    path.write_bytes(header.tobuf() + bytes(10_000))
    assert "'train/cat/bomb.png' has 1,099,511,627,776 bytes" in refusal(path)


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)
    assert "more than 3 members" in refusal(as_tar(tmp_path / "a.tar", FILES))


def test_a_huge_tar_header_is_refused(tmp_path):
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2**33
    path = tmp_path / "a.tar"
    path.write_bytes(header.tobuf(format=tarfile.GNU_FORMAT) + bytes(10_000))
    assert "a header of 8,589,934,592 bytes" in refusal(path)


def sparse_header(kind: str) -> bytes:
    """A tar whose member is sparse, of very many parts, in each of the four ways to say so."""
    info = tarfile.TarInfo("train/cat/0.png")
    parts = 10_000 if kind == "0.1" else 100_000
    if kind == "old":
        info.type = tarfile.GNUTYPE_SPARSE
        block = bytearray(info.tobuf(format=tarfile.GNU_FORMAT))
        block[482] = 1  # more parts follow
        block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:512]))
        part = b"%011o\0" % 1 * 2
        more = (part * 21).ljust(504, b"\0") + b"\1" * 8
        return bytes(block) + more * (parts // 21) + bytes(10_752) + bytes(10_752)
    where = {"map": ",".join("1" * 2 * parts)} if kind == "0.1" else {"size": "9"}
    if kind == "1.0":
        where, info.size = {"major": "1", "minor": "0"}, 4 * parts + 512
    info.pax_headers = {f"GNU.sparse.{key}": value for key, value in where.items()}
    content = (b"%d\n" % parts + b"1\n" * 2 * parts).ljust(info.size, b"\0")
    return info.tobuf(format=tarfile.PAX_FORMAT) + content + bytes(10_240)


@pytest.mark.parametrize("kind", ["old", "0.0", "0.1", "1.0"])
def test_a_sparse_tar_member_is_refused_before_it_is_looked_at(tmp_path, kind):
    path = tmp_path / "a.tar"
    path.write_bytes(sparse_header(kind))
    message, peak = measure_refusal(path)
    assert peak < 2**22
    assert "'train/cat/0.png' is a link, sparse or a device\nunpack it" in message


def test_one_header_after_another_takes_little_memory(tmp_path):
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2**20
    block = header.tobuf(format=tarfile.GNU_FORMAT) + bytes(2**20)
    path = tmp_path / "a.tar"
    path.write_bytes(block * 50)
    message, peak = measure_refusal(path)
    assert peak < 2**23 and "a header of 1,048,576 bytes" in message


def measure_refusal(source) -> tuple[str, int]:
    """The refusal, and the most memory that it took."""
    tracemalloc.start()
    try:
        return refusal(source), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_member_that_is_larger_than_it_says_is_not_inflated(tmp_path, method):
    archive = as_zip(tmp_path / "a.zip", FILES)
    with zipfile.ZipFile(archive, "a", method) as file:
        file.writestr("train/cat/9.png", bytes(2**26))
    content = archive.read_bytes().replace((2**26).to_bytes(4, "little"), b"\x64\0\0\0")
    archive.write_bytes(content)
    message, peak = measure_refusal(archive)
    assert peak < 2**23
    if method != zipfile.ZIP_DEFLATED:
        assert "'train/cat/9.png' is compressed, but not by deflate\nunpack it" in message


def test_a_link_that_leads_nowhere_and_a_lack_of_memory_are_no_damage(tmp_path, monkeypatch):
    folder = as_folder(tmp_path / "pets", FILES)
    (folder / "train/cat/link.png").symlink_to(tmp_path / "none")
    assert refusal(folder).endswith("'train/cat/link.png' is a link that leads nowhere\nremove it")
    with pytest.raises(DataError, match="\ncheck its name, its permissions and its disk"):
        next(archives.iter_members(tmp_path / "none.zip"))
    with pytest.raises(MemoryError), archives.damage_errors(folder):
        raise MemoryError


def test_a_file_that_is_there_twice_is_refused(tmp_path):
    for write, name in ((as_zip, "a.zip"), (as_tar, "a.tar")):
        archive = write(tmp_path / name, FILES | {"./train/cat/0.png": png(99)})
        assert "'train/cat/0.png' is there twice" in refusal(archive)


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tar.xz", "a.tar.bz2", "a.zip"])
@pytest.mark.parametrize("fraction", [0.3, 0.9])
def test_a_truncated_archive_is_never_taken_for_whole(tmp_path, name, fraction):
    files = class_folders({"train": 20})
    archive = (as_zip if name.endswith("zip") else as_tar)(tmp_path / name, files)
    content = archive.read_bytes()
    if name == "a.tar":  # without what pads it to a full record
        content = content[: len(content) - 8192]
    archive.write_bytes(content[: int(len(content) * fraction)])
    assert str(archive) in refusal(archive)


@pytest.mark.parametrize("cut", [0, 100])
def test_a_tar_cut_between_members_or_in_a_header_is_noticed(tmp_path, cut):
    archive = as_tar(tmp_path / "a.tar", FILES)
    with tarfile.open(archive) as file:
        last = file.getmembers()[-1]
    archive.write_bytes(archive.read_bytes()[: last.offset + cut])
    assert "no end mark" in refusal(archive)


def test_garbage_between_members_is_noticed(tmp_path):
    archive = as_tar(tmp_path / "a.tar", FILES)
    with tarfile.open(archive) as file:
        last = file.getmembers()[-1]
    content = bytearray(archive.read_bytes())
    content[last.offset : last.offset + 512] = os.urandom(512)
    archive.write_bytes(content)
    assert "no end mark" in refusal(archive)


def test_a_tar_that_ends_in_a_zip_is_a_tar(tmp_path):
    inner = as_zip(tmp_path / "inner.zip", {"x": b""}).read_bytes()
    archive = as_tar(tmp_path / "a.tar", FILES | {"train/notes.txt": inner})
    assert open_dataset(str(archive)).classes == ("cat", "dog")


@pytest.mark.parametrize("content", [b"", b"PK", b"hello", os.urandom(5000)])
def test_what_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "a.tar").write_bytes(content)
    assert "a.tar can't be read" in refusal(tmp_path / "a.tar")


def test_links_out_of_a_folder_are_refused(tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(png())
    folder = as_folder(tmp_path / "pets", FILES)
    link = folder / "train/cat/link.png"
    link.symlink_to(secret)
    assert "link.png' is a link that leads out" in refusal(folder)
    link.unlink()
    link.symlink_to(folder / "train/cat/0.png")
    assert len(open_dataset(str(folder)).read("train")) == 5
    (folder / "test/dog2").symlink_to(folder / "train/dog")
    assert "link to a folder" in refusal(folder)


def test_pipes_in_a_folder_are_refused(tmp_path):
    folder = as_folder(tmp_path / "pets", FILES)
    os.mkfifo(folder / "train/cat/pipe.png")
    assert "no plain file" in refusal(folder)


def test_reading_takes_one_pass(tmp_path, monkeypatch):
    """Going back in an xz file would decompress it again."""
    archive = as_tar(tmp_path / "a.tar.xz", FILES)
    seeks = []
    real = archives._PACKED[b"\xfd7zXZ\0"]

    class Counting(io.BufferedReader):
        def seek(self, *args):
            seeks.append(args)
            return super().seek(*args)

    monkeypatch.setitem(archives._PACKED, b"\xfd7zXZ\0", lambda path: Counting(real(path)))
    open_dataset(str(archive))
    assert not seeks


def test_what_may_never_end_is_no_source(tmp_path):
    os.mkfifo(tmp_path / "pipe.zip")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.tar"))
    kinds = {
        "pipe": tmp_path / "pipe.zip",
        "socket": tmp_path / "socket.tar",
        "device": "/dev/zero",
    }
    for kind, source in kinds.items():
        message = (
            f"{source} can't be read: it is a {kind}, no plain file\nsave its content as a file"
        )
        assert refusal(source).startswith(message)
    assert "no data source" in refusal("x" * 300) and "no data source" in refusal("x/" * 3000)


@pytest.mark.parametrize("name", ["train/cat/\udcff.png", "train/\udcff/0.png"])
def test_names_that_are_not_utf_8_are_refused(tmp_path, name):
    files = FILES | {name: png()}
    for source in (as_tar(tmp_path / "a.tar", files), as_folder(tmp_path / "pets", files)):
        message = refusal(source)
        assert "udcff" in message and "is not UTF-8" in message
        message.encode()  # it can be printed


def test_a_source_whose_own_name_is_not_utf_8_is_read(tmp_path):
    dataset = open_dataset(str(as_folder(tmp_path / "pets\udcff", FILES)))
    assert dataset.name == "pets\\udcff" and len(dataset.read("train")) == 4


def test_a_zip_that_lies_about_its_names_is_damaged(tmp_path):
    archive = as_zip(tmp_path / "a.zip", FILES | {"train/cat/\u00e4.png": png()})
    archive.write_bytes(archive.read_bytes().replace("\u00e4.png".encode(), b"\xff\xff.png"))
    assert "can't be read" in refusal(archive)


def test_a_member_without_a_name_is_no_image(tmp_path):
    archive = as_zip(tmp_path / "a.zip", FILES)
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(zipfile.ZipInfo(""), b"")
    assert "neither an image" in refusal(archive)
