"""The run directory: segments that are committed or absent, never changed, found again wherever the folder is moved."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from mdinsight import _version
from mdinsight.errors import PlanError, StoreError
from mdinsight.progress import Progress, track
from mdinsight.results import Verdict
from mdinsight.store import _disk, _lock
from mdinsight.store._content import FORMAT, differences, frozen, plain_json, sealed, unsealed
from mdinsight.store._entry import (
    MANIFEST,
    REMEDY,
    Entry,
    manifest_of,
    missing_files,
    read_manifest,
    seal,
    unseal,
    valid_name,
    verify_entry,
)
from mdinsight.store._layout import (
    LOCK,
    NEW_RUN,
    QUARANTINE,
    RUN,
    SEGMENTS,
    STAGING,
    identity_in,
    inside,
    is_run,
    refuse_occupied,
)
from mdinsight.words import counted, some


class Store:
    """A run directory; made by :meth:`create` or :meth:`open`.

    ::

        run.json                      what the run is, written once
        segments/r0000-w00/           committed segments: their files, and MANIFEST.json with sizes and SHA-256
        quarantine/r0001-w01/         what broke down, kept to be looked at
        .staging/  .lock              work in progress, and who is at work

    A segment is written in :meth:`stage`'s folder, by any process, and :meth:`commit` makes it part of the run at one instant: it
    is there whole, or not at all, whatever kills the process. Nothing in the folder depends on where it stands.

    Attributes
    ----------
    path
        The folder.
    identity
        What the run was created for, as a frozen dict of plain JSON (lists as tuples).
    read_only
        Whether writing is refused.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any], read_only: bool = False) -> None:
        self.path = path
        self.identity = frozen(identity)
        self.read_only = read_only
        self._held: int | None = None
        self._staged: set[Path] = set()
        self._cache: dict[Path, tuple[tuple[int, ...], Entry]] = {}

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r}{', read_only=True' if self.read_only else ''})"

    @staticmethod
    def exists(path: str | os.PathLike[str]) -> bool:
        """Whether a run was created there."""
        return is_run(Path(path))

    @classmethod
    def create(cls, path: str | os.PathLike[str], identity: Mapping[str, Any]) -> Self:
        """Begin a run in a new or empty folder. A creation that was interrupted left no run; create it again.

        Parameters
        ----------
        path
            The folder; folders above it are made.
        identity
            What makes this run this run (the plan, hashes of the system), as plain JSON; :meth:`check` compares with it.

        Raises
        ------
        StoreError
            If the folder is a run already, or holds something else; the message names it.
        ParameterError
            If the identity is no plain JSON.
        OutputError
            If the folder cannot be made.
        """
        folder = Path(path).absolute()
        plain = plain_json(identity, "identity")
        refuse_occupied(folder)
        _disk.made(folder)
        with _lock.exclusive(folder / LOCK):  # of two that create one run, one wins
            refuse_occupied(folder)
            content = {"format": FORMAT, "mdinsight": _version.__version__, "identity": plain}
            with _disk.writing(folder / RUN):
                (folder / NEW_RUN).unlink(missing_ok=True)
                _disk.write_synced(folder / NEW_RUN, sealed(content))
                os.replace(folder / NEW_RUN, folder / RUN)
                _disk.sync(folder)
        return cls.open(folder)

    @classmethod
    def open(cls, path: str | os.PathLike[str], read_only: bool = False) -> Self:
        """Open a run that exists; several processes may, and :meth:`lock` lets one of them work on it.

        Raises
        ------
        StoreError
            If there is no run (the message says what was found), if it is of another format, or if ``run.json`` was damaged.
        """
        folder = Path(path).absolute()
        return cls(folder, identity_in(folder), read_only)

    def check(self, identity: Mapping[str, Any]) -> None:
        """Make sure that the run was created for this identity.

        Raises
        ------
        PlanError
            If not; the message names every difference as ``key.path: was A, is now B``.
        """
        now = plain_json(identity, "identity")
        lines = differences(plain_json(self.identity, "identity"), now)
        if lines:
            raise PlanError(
                f"the run {self.path} was begun with another plan ({counted(len(lines), 'difference')}):\n  "
                + "\n  ".join(lines)
                + "\nresume it with the plan that it was begun with, or begin a new run in another folder"
            )

    # who works on it

    @contextmanager
    def lock(self) -> Iterator[Self]:
        """Be the one process that works on the run, for the length of a ``with`` block.

        The lock is the kernel's: it ends with the process, also when that is killed. Looking at a run needs none.

        Raises
        ------
        StoreError
            At once, if it is held already; the message says by whom.
        OutputError
            If the lock file cannot be written, or the file system has no locks.
        """
        self._refuse_read_only()
        with _lock.exclusive(self.path / LOCK) as held:
            self._held = held
            try:
                yield self
            finally:
                self._held = None

    def holder(self) -> str | None:
        """Who works on the run now (process, host, since when); None if nobody does."""
        return _lock.holder(self.path / LOCK)

    # from work to segment

    def stage(self, name: str) -> Path:
        """A fresh empty folder of the run for the files of a segment; workers in other processes may write there.

        Raises
        ------
        ParameterError
            If a segment cannot have that name.
        OutputError
            If the folder cannot be made.
        """
        self._refuse_read_only()
        home = _disk.made(self.path / STAGING)
        folder = home / f"{valid_name(name)}-{secrets.token_hex(6)}"
        with _disk.writing(folder):
            folder.mkdir(mode=0o775)
        self._staged.add(folder)
        return folder

    def discard(self, folder: Path) -> None:
        """Remove a staged folder that will not be committed."""
        self._refuse_read_only()
        folder = self._own(folder)
        _disk.remove_tree(folder)
        self._staged.discard(folder)

    def commit(self, name: str, folder: Path, info: Mapping[str, Any]) -> Entry:
        """Make a staged folder the segment ``name``; afterwards it is there for good, a loss of power included.

        Parameters
        ----------
        name
            Small letters, digits, ``-`` and ``_``, such as ``r0003-w02``.
        folder
            From :meth:`stage`; a flat folder of finished files, which it is checked to be. It is gone afterwards.
        info
            Plain JSON to keep with the files. Two runs that do the same give the same manifest, so no times or hosts belong here.

        Returns
        -------
        Entry
            The segment. If it had been committed before with the same content, that one.

        Raises
        ------
        StoreError
            If the folder holds anything but finished files, or the segment exists with other content.
        ParameterError
            If the name or the info cannot be used.
        OutputError
            If the disk is full or refuses; the staged folder stays and can be committed again.
        """
        return self._commit(SEGMENTS, name, folder, info)

    def quarantine(self, name: str, folder: Path, info: Mapping[str, Any]) -> Entry:
        """Keep a staged folder of what broke down, under ``quarantine/``; see :meth:`commit`."""
        return self._commit(QUARANTINE, name, folder, info)

    def reserve(self, n_bytes: int) -> None:
        """Make sure that the run has room for so many bytes more, quotas and limits included, before work starts.

        Raises
        ------
        OutputError
            If it has not; the message says what is needed and what is free.
        """
        self._refuse_read_only()
        _disk.reserve(_disk.made(self.path / STAGING), n_bytes)

    def clean(self) -> list[str]:
        """Remove the staged folders that dead processes left behind; those of this store stay. Gives their names.

        Raises
        ------
        StoreError
            If this store does not hold the lock: the folders might be somebody's work.
        """
        self._refuse_read_only()
        if not _lock.is_held(self._held):
            raise StoreError(f"cannot clean {self.path} without its lock; do it inside `with store.lock():`")
        left = [folder for folder in inside(self.path / STAGING) if folder not in self._staged]
        for folder in left:
            _disk.remove_tree(folder)
        return [folder.name for folder in left]

    # what is in it

    def names(self) -> list[str]:
        """The names of the committed segments, sorted."""
        return self._names(SEGMENTS)

    def has(self, name: str) -> bool:
        """Whether a segment is committed."""
        return self._is_there(self.path / SEGMENTS / valid_name(name))

    def entry(self, name: str) -> Entry:
        """A committed segment.

        Raises
        ------
        StoreError
            If there is none of that name, its manifest was damaged, or a file is missing or of another size.
        """
        return self._entry(SEGMENTS, name)

    def quarantined(self) -> list[str]:
        """The names of what is in quarantine, sorted."""
        return self._names(QUARANTINE)

    def entry_of_quarantine(self, name: str) -> Entry:
        """What is in quarantine under a name; see :meth:`entry`."""
        return self._entry(QUARANTINE, name)

    def verify(self, progress: Progress = False) -> list[Verdict]:
        """Read every byte of the run again and compare with what was committed; needs no lock.

        Returns
        -------
        list of Verdict
            One for each segment that is whole, one for each thing that is wrong, and a note of unfinished work.
        """
        try:
            identity_in(self.path)
            verdicts = [Verdict(RUN, True, "as written when the run was created")]
        except StoreError as error:
            verdicts = [Verdict(RUN, False, str(error))]
        found = [(home, folder) for home in (SEGMENTS, QUARANTINE) for folder in inside(self.path / home)]
        for home, folder in track(found, progress, total=len(found), desc="verify"):
            label = f"{home}/{folder.name}"
            if folder.is_dir():
                verdicts += verify_entry(folder.name, folder, label)
            else:
                says = "is no folder, so no segment"
                verdicts.append(Verdict(label, False, says, "move it out of the run; nothing here is ever added to"))
        left = [folder.name for folder in inside(self.path / STAGING)]
        if left:
            says = f"{counted(len(left), 'unfinished segment')} ({some(left)}), of a process that works on them or that died"
            verdicts.append(Verdict(STAGING, True, f"{says}; no part of the run, cleared when it is resumed"))
        return verdicts

    # within

    def _commit(self, home: str, name: str, folder: Path, info: Mapping[str, Any]) -> Entry:
        self._refuse_read_only()
        target = _disk.made(self.path / home) / valid_name(name)
        folder = self._own(folder)
        manifest = manifest_of(name, folder, info)
        with _disk.writing(target):
            if not (target / MANIFEST).exists():
                seal(folder, manifest)
                try:
                    os.replace(folder, target)  # a folder with files in it is never replaced
                except OSError:
                    unseal(folder)
                    if not target.is_dir():
                        raise
                    # else another process was faster, or a network disk did it and answered that it had not
                _disk.sync(target.parent)
        there = read_manifest(name, target, str(target))
        lines = differences(_of_entry(there), _of_manifest(manifest))
        if lines:
            raise StoreError(
                f"{target} is committed already, with other content ({some(lines)}); what is committed is never changed: "
                f"give another name. The new files stay in {folder}"
            )
        _disk.remove_tree(folder)
        self._staged.discard(folder)
        return self._entry(home, name)

    def _entry(self, home: str, name: str) -> Entry:
        folder = self.path / home / valid_name(name)
        if not self._is_there(folder):
            raise StoreError(f"the run {self.path} has no {home}/{name}; it has {self._some(home)}")
        stamp: tuple[int, ...] = ()
        with suppress(OSError):  # read_manifest says what is wrong
            found = (folder / MANIFEST).stat()
            stamp = (found.st_ino, found.st_size, found.st_mtime_ns)
        if folder not in self._cache or self._cache[folder][0] != stamp:
            entry = read_manifest(name, folder, str(folder))
            wrong = missing_files(entry)
            if wrong:
                raise StoreError(f"{folder} was damaged after it was committed: {some(wrong)}; {REMEDY}")
            self._cache[folder] = (stamp, entry)
        return self._cache[folder][1]

    @staticmethod
    def _is_there(folder: Path) -> bool:
        with _disk.reading(folder):
            return folder.is_dir()

    def _names(self, home: str) -> list[str]:
        return [folder.name for folder in inside(self.path / home) if folder.is_dir()]

    def _some(self, home: str) -> str:
        names = self._names(home)
        return f"{len(names)}: {some(names)}" if names else "none yet"

    def _own(self, folder: Path) -> Path:
        folder = Path(folder).absolute()
        if folder.parent != self.path / STAGING or folder.is_symlink() or not folder.is_dir():
            raise StoreError(f"{folder} is no staged folder of the run {self.path}; write into one that stage() gave")
        return folder

    def _refuse_read_only(self) -> None:
        if self.read_only:
            raise StoreError(f"the run {self.path} was opened to be looked at only; open it without read_only=True")


def _of_entry(entry: Entry) -> Any:
    return plain_json({"info": entry.info, "files": entry.files}, entry.name)


def _of_manifest(data: bytes) -> Any:
    manifest = unsealed(data, MANIFEST, "")
    files = {name: [file["size"], file["sha256"]] for name, file in manifest["files"].items()}
    return {"info": manifest["info"], "files": files}
