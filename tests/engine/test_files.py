"""Files that the user names: read with a limit, replaced as a whole."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import BadInput
from engine.system.files import read_file, reason_of, replacing, storable, user_path, write_file
from tests.atomic import assert_replaced_whole

ROOT = Path(__file__).parents[2]


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_file(file, b"old")
    assert_replaced_whole(file, lambda: write_file(file, b"the new content"))
    assert file.read_bytes() == b"the new content"


def test_until_all_is_written_the_old_file_is_there(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")
    with replacing(file) as stream:
        stream.write(b"new")
        stream.flush()
        os.fsync(stream.fileno())
        assert file.read_bytes() == b"old"
    assert file.read_bytes() == b"new"


@pytest.mark.parametrize("error", [OSError(28, "full"), ValueError("bad"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file_alone(error: BaseException, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")
    with pytest.raises(type(error)), replacing(file) as stream:
        stream.write(b"half of ")
        raise error
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")
    code = (
        "import os, signal, sys\n"
        "from engine.system.files import replacing\n"
        "with replacing(sys.argv[1]) as stream:\n"
        "    stream.write(b'half of ')\n"
        "    stream.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(file)], cwd=ROOT)
    assert ended.returncode == -signal.SIGKILL
    assert file.read_bytes() == b"old"
    write_file(file, b"new")  # what it has left behind is not in the way
    assert file.read_bytes() == b"new"


def test_what_replaces_a_file_is_on_the_disk_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a loss of power would leave an empty file under the name of the old one."""
    file = tmp_path / "file"
    file.write_bytes(b"old")
    synced: list[tuple[int, bytes]] = []

    def fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        synced.append((status.st_ino, file.read_bytes()))
        assert status.st_size == len(b"new")

    monkeypatch.setattr(os, "fsync", fsync)
    write_file(file, b"new")
    assert synced == [(file.stat().st_ino, b"old")]


def test_two_writers_do_not_mix(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with replacing(file) as one, replacing(file) as other:
        one.write(b"one" * 1000)
        other.write(b"other")
    assert file.read_bytes() == b"one" * 1000
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755])
def test_permissions_are_kept(mode: int, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    file.chmod(mode)
    before = os.umask(0o077)
    try:
        with replacing(file) as stream:
            # Never readable for others, not even while it is written.
            (written,) = (each for each in tmp_path.iterdir() if each != file)
            assert stat.S_IMODE(written.stat().st_mode) == mode
            stream.write(b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == mode


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_a_new_file_is_what_the_umask_leaves(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        write_file(tmp_path / "file", b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~umask


def test_a_link_is_followed_to_another_folder(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    real, link = tmp_path / "there" / "real", tmp_path / "link"
    link.symlink_to(real)
    write_file(link, b"new")
    assert link.is_symlink() and real.read_bytes() == b"new"
    assert list((tmp_path / "there").iterdir()) == [real]


def test_what_is_no_regular_file_is_not_replaced(tmp_path: Path) -> None:
    for name in (tmp_path, Path(os.devnull)):
        before = name.stat()
        with pytest.raises(OSError, match="not a regular file"):
            write_file(name, b"new")
        assert name.stat().st_mode == before.st_mode
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(OSError):
        write_file(loop, b"new")
    assert list(tmp_path.iterdir()) == [loop]


def test_a_file_of_exactly_the_limit_is_read(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    assert read_file(file, "list", 5) == b"12345"
    with pytest.raises(BadInput, match=r"file: 5 bytes; the limit for a list is 4"):
        read_file(file, "list", 4)


def test_what_is_read_is_no_more_than_the_limit(tmp_path: Path) -> None:
    file = tmp_path / "sparse"
    with file.open("wb") as stream:
        stream.truncate(2**40)
    with pytest.raises(BadInput, match=r"1,099,511,627,776 bytes; the limit for a list is 1,000"):
        read_file(file, "list", 1000)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    for name, reason in ((tmp_path, "a folder, not a list"), ("/dev/zero", "not a regular file")):
        with pytest.raises(BadInput, match=reason):
            read_file(name, "list", 5)
    with pytest.raises(BadInput, match="missing: no such list"):
        read_file(tmp_path / "missing", "list", 5)
    with pytest.raises(BadInput, match="cannot be read"):
        read_file("nul\0", "list", 5)
    with pytest.raises(BadInput, match="cannot be read"):
        read_file("~nobody-of-this-name/file", "list", 5)


def test_a_home_folder_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_file("~/file", b"home")
    assert (tmp_path / "file").read_bytes() == read_file("~/file", "list", 9) == b"home"
    with pytest.raises(OSError):
        user_path("~nobody-of-this-name/file")


def test_names_and_reasons_can_be_shown() -> None:
    assert storable(os.fsdecode(b"a\xff\xc3\xa4")) == "a\ufffdä"
    assert reason_of(OSError(28, "No space left")) == "No space left"
    assert reason_of(ValueError("embedded null byte")) == "embedded null byte"
