"""Only what this machine wrote, as it wrote it, is read back."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from models.runtime.tensorrt import store as module
from models.runtime.tensorrt.store import EngineStore, default_store, key

NAME = key(model="a", gpu="b")
ENGINE = bytes(range(256)) * 40
POSIX = pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")


def opened(root: Path) -> EngineStore:
    return EngineStore(root / "engines", root / "state" / "engines.key")


def file_of(root: Path) -> Path:
    return root / "engines" / f"{NAME}.engine"


def test_what_was_put_is_got_back_by_another_process_of_the_same_user(tmp_path: Path) -> None:
    opened(tmp_path).put(NAME, ENGINE)
    assert opened(tmp_path).get(NAME) == ENGINE
    assert opened(tmp_path).get(key(model="a", gpu="c")) is None
    opened(tmp_path).drop(NAME)
    assert opened(tmp_path).get(NAME) is None


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


CHANGES: dict[str, Callable[[Path, pytest.MonkeyPatch], object]] = {
    "one bit": lambda root, patch: flip(file_of(root)),
    "cut short": lambda root, patch: file_of(root).write_bytes(file_of(root).read_bytes()[:-7]),
    "empty": lambda root, patch: file_of(root).write_bytes(b""),
    "somebody's engine, bare": lambda root, patch: file_of(root).write_bytes(ENGINE),
    "another engine of ours": lambda root, patch: (
        opened(root).put("other", b"x"),
        os.replace(root / "engines" / "other.engine", file_of(root)),
    ),
    "a store with another secret": lambda root, patch: (root / "state" / "engines.key").unlink(),
    "another machine": lambda root, patch: patch.setattr(module.platform, "node", lambda: "elsewhere"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_this_machine_did_not_write_is_refused_and_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    opened(tmp_path).put(NAME, ENGINE)
    CHANGES[case](tmp_path, monkeypatch)
    assert opened(tmp_path).get(NAME) is None
    assert not file_of(tmp_path).exists()
    assert "not written by this machine" in caplog.text
    opened(tmp_path).put(NAME, ENGINE)
    assert opened(tmp_path).get(NAME) == ENGINE


@POSIX
def test_nobody_else_reads_or_writes(tmp_path: Path) -> None:
    (tmp_path / "engines").mkdir(mode=0o755)
    opened(tmp_path).put(NAME, ENGINE)
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in (tmp_path / "engines", tmp_path / "state", tmp_path / "state" / "engines.key", file_of(tmp_path))
    }
    assert modes == {"engines": 0o700, "state": 0o700, "engines.key": 0o600, file_of(tmp_path).name: 0o600}


@POSIX
@pytest.mark.parametrize("harm", ["readable by others", "of another length"])
def test_a_secret_that_is_none_is_replaced(tmp_path: Path, harm: str) -> None:
    opened(tmp_path).put(NAME, ENGINE)
    secret = tmp_path / "state" / "engines.key"
    before = secret.read_bytes()
    if harm == "readable by others":
        secret.chmod(0o644)
    else:
        secret.write_bytes(b"short")
    assert opened(tmp_path).get(NAME) is None
    assert secret.read_bytes() != before
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600


def test_a_write_that_is_interrupted_leaves_what_was_there_and_costs_no_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened(tmp_path).put(NAME, ENGINE)

    def full(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(module.os, "fsync", full)
    opened(tmp_path).put(NAME, b"half of an eng")
    assert "no space left; going on without it" in caplog.text
    assert opened(tmp_path).get(NAME) == ENGINE
    assert [file.name for file in (tmp_path / "engines").iterdir()] == [file_of(tmp_path).name]


def refuses(*_: object, **__: object) -> None:
    raise PermissionError("read-only")


DISKS: dict[str, tuple[str, bool]] = {
    "no folder can be made": ("Path.mkdir", False),
    "no secret can be drawn": ("tempfile.mkstemp", False),
    "a folder that cannot be made private": ("Path.chmod", False),
    "nothing can be read": ("Path.read_bytes", True),
    "nothing can be touched": ("os.utime", True),
    "nothing can be written": ("tempfile.mkstemp", True),
    "nothing can be deleted": ("Path.unlink", True),
}


@POSIX
@pytest.mark.parametrize("case", DISKS)
def test_a_disk_that_refuses_costs_time_and_no_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    call, used_before = DISKS[case]
    (tmp_path / "engines").mkdir(mode=0o755)
    if used_before:
        opened(tmp_path).put(NAME, ENGINE)
    owner = {"Path": module.Path, "tempfile": module.tempfile, "os": module.os}[call.partition(".")[0]]
    with monkeypatch.context() as patch:
        patch.setattr(owner, call.partition(".")[2], refuses)
        store = opened(tmp_path)
        assert store.get(NAME) in ((ENGINE, None) if used_before else (None,))
        store.put("other", b"x")
        store.drop("another")
    assert "read-only; going on without it" in caplog.text or call == "os.utime"
    if used_before:
        assert opened(tmp_path).get(NAME) == ENGINE


def test_an_engine_that_another_process_takes_away_meanwhile_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(tmp_path)
    gone = tmp_path / "engines" / "gone.engine"
    found = module.Path.glob
    monkeypatch.setattr(module.Path, "glob", lambda self, pattern: [gone, *found(self, pattern)])
    store.put(NAME, ENGINE)
    assert store.get(NAME) == ENGINE
    assert caplog.text == ""


def test_the_store_does_not_grow_for_ever(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for number in range(module.KEEP + 3):
        store.put(f"{number}", b"x")
        os.utime(tmp_path / "engines" / f"{number}.engine", ns=(number, number))
    store.put("last", b"x")
    names = {file.stem for file in (tmp_path / "engines").iterdir()}
    assert len(names) == module.KEEP
    assert {"last", f"{module.KEEP + 2}"} <= names
    assert "0" not in names


def test_the_key_depends_on_every_part_and_on_where_it_stands() -> None:
    keys = {key(a="1", b="2"), key(a="12", b=""), key(a="", b="12"), key(a="2", b="1"), key(a="1", b="2", c="")}
    assert len(keys) == 5
    assert key(a="1", b="2") == key(b="2", a="1")


def test_the_user_s_own_store_is_where_the_platform_keeps_such_things(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CYTOLOOP_CACHE", "XDG_CACHE_HOME", "XDG_STATE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    default_store().put(NAME, ENGINE)
    assert (tmp_path / "cytoloop_cache" / "engines" / f"{NAME}.engine").is_file()
    assert not list((tmp_path / "cytoloop_cache").rglob("*.key"))
