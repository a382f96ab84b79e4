"""Engines on disk. An engine is executable code: only what this machine wrote itself is ever read back.

Each file carries its own record: a keyed hash (HMAC-SHA256) over the engine, its name and this machine, under a
secret that was drawn at first use and never leaves the user's own state folder. Engine and record are one file and are
replaced as one, so they cannot come apart; a file that was altered, renamed, copied from elsewhere or written by
anybody who does not hold the secret is refused, deleted and built anew.

A disk that is full or cannot be written costs time, never a session: it is logged, and engines are built anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import os
import platform
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

from stream.errors import StoreError

LOG = logging.getLogger(__name__)
MAGIC = b"cytoloop engine 1\n"
DIGEST = hashlib.sha256().digest_size
KEEP = 64
"""Files kept; the ones unused for longest go first."""
POSIX = os.name == "posix"


class EngineStore:
    """A folder of sealed engines.

    Parameters
    ----------
    folder
        Made with mode 0700; only its owner reads or writes it. Raises StoreError where it belongs to somebody else.
    secret
        The file of the secret, made with mode 0600 at first use; outside of ``folder``, so that a folder copied from
        elsewhere brings no secret of its own.
    """

    def __init__(self, folder: Path, secret: Path) -> None:
        self._folder = folder
        self._secret = b""  # nothing is kept, and nothing that lies there is taken
        with self._going_on():
            _private(folder)
            _private(secret.parent)
            self._secret = _secret(secret)

    def get(self, key: str) -> bytes | None:
        """Return what was put under ``key`` by this machine, or None; anything else there is deleted."""
        path = self._path(key)
        sealed = self._read(path)
        if sealed is None:
            return None
        head = len(MAGIC) + DIGEST
        content = sealed[head:]
        if not hmac.compare_digest(sealed[:head], MAGIC + self._seal(key, content)):
            LOG.warning("%s was not written by this machine as it is now: it is deleted and built anew", path)
            self.drop(key)
            return None
        with contextlib.suppress(OSError):  # only the order in which engines are forgotten depends on it
            os.utime(path)
        return content

    def put(self, key: str, content: bytes) -> None:
        """Keep ``content`` under ``key``: all of it or, should the disk or the machine fail, nothing."""
        if not self._secret:
            return
        with self._going_on():
            _write(self._path(key), MAGIC + self._seal(key, content) + content)
            for file in _newest_first(self._folder)[KEEP:]:
                file.unlink(missing_ok=True)

    def drop(self, key: str) -> None:
        """Forget what is under ``key``."""
        with self._going_on():
            self._path(key).unlink(missing_ok=True)

    def _read(self, path: Path) -> bytes | None:
        with self._going_on(), contextlib.suppress(FileNotFoundError):
            return path.read_bytes() if self._secret else None
        return None

    @contextlib.contextmanager
    def _going_on(self) -> Iterator[None]:
        """Log what the disk refuses, and go on without it."""
        try:
            yield
        except OSError as error:
            LOG.warning("the store of engines %s: %s; going on without it, engines are built anew", self._folder, error)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.engine"

    def _seal(self, key: str, content: bytes) -> bytes:
        said = hmac.new(self._secret, MAGIC, hashlib.sha256)
        for part in (platform.node().encode(), key.encode(), content):
            said.update(len(part).to_bytes(8, "little") + part)
        return said.digest()


def key(**parts: str) -> str:
    """Return the name of an engine that depends on all of these."""
    said = hashlib.sha256()
    for name, value in sorted(parts.items()):
        said.update(f"{name}={len(value)}:{value}\n".encode())
    return said.hexdigest()


def default_store() -> EngineStore:
    """Open this user's own store: ``$CYTOLOOP_CACHE``, or the platform's folder for caches."""
    cache, state = _folders()
    own = os.environ.get("CYTOLOOP_CACHE")
    return EngineStore(
        Path(own) / "engines" if own else cache / "cytoloop" / "engines", state / "cytoloop" / "engines.key"
    )


def _folders() -> tuple[Path, Path]:
    """Return where this platform keeps what can be made again, and what cannot."""
    if not POSIX:
        local = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        return local, local
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(cache), Path(state)


def _newest_first(folder: Path) -> list[Path]:
    """Return the engines in a folder; another process may take some away meanwhile."""
    seen: list[tuple[int, Path]] = []
    for file in folder.glob("*.engine"):
        with contextlib.suppress(FileNotFoundError):
            seen.append((file.stat().st_mtime_ns, file))
    return [file for _, file in sorted(seen, reverse=True)]


def _private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not POSIX:
        return
    facts = folder.stat()
    if facts.st_uid != os.getuid():
        raise StoreError(f"{folder} belongs to another user; set CYTOLOOP_CACHE to a folder of your own")
    if facts.st_mode & 0o077:
        folder.chmod(0o700)


def _secret(path: Path) -> bytes:
    """Return the secret; one that others could read, or of a wrong length, is replaced: all engines are built anew."""
    for _ in range(2):
        try:
            facts, secret = path.stat(), path.read_bytes()
        except FileNotFoundError:
            _write(path, secrets.token_bytes(DIGEST), new=True)
            continue
        if len(secret) == DIGEST and not (POSIX and facts.st_mode & 0o077):
            return secret
        LOG.warning("%s could be read by others or is damaged: a new secret is drawn", path)
        _write(path, secrets.token_bytes(DIGEST))
    return path.read_bytes()


def _write(path: Path, content: bytes, *, new: bool = False) -> None:
    """Write a file of mode 0600 as a whole; ``new``: whoever was first wins."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if new and path.exists():
            return
        if new:
            _link(draft, path)
        else:
            os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _link(draft: Path, path: Path) -> None:
    try:
        os.link(draft, path)
    except FileExistsError:
        return
    except OSError:  # a file system without links: the last one wins
        os.replace(draft, path)
