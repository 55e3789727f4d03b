"""One committed folder: its manifest, how it is sealed, read and re-read."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mdinsight.errors import ParameterError, StoreError
from mdinsight.results import Verdict
from mdinsight.store._content import FORMAT, frozen, plain_json, sealed, unsealed
from mdinsight.store._disk import read_bytes, size_text, sync, write_synced, writing
from mdinsight.store._layout import inside
from mdinsight.words import counted, some

MANIFEST = "MANIFEST.json"
REMEDY = "bring it back from a copy, or remove the folder and resume: the segment is then run again"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")
_TEMPORARY = (".tmp", ".temp", ".part", ".partial", ".lock", ".swp")


@dataclass(frozen=True)
class Entry:
    """A committed segment: its name, folder, what was noted about it, and its files.

    ``info`` and ``files`` are frozen dicts (lists in ``info`` are tuples); ``files`` maps the name of each file to its size
    in bytes and its SHA-256. ``hash`` is that of the manifest. Entries are equal if their content is, wherever they stand.
    """

    name: str
    path: Path = field(compare=False)
    info: Mapping[str, Any] = field(hash=False)
    files: Mapping[str, tuple[int, str]] = field(hash=False)
    hash: str

    def file(self, name: str) -> Path:
        """The path of one file.

        Raises
        ------
        StoreError
            If the segment has no such file.
        """
        if name not in self.files:
            raise StoreError(f"{self.path} has no file {name!r}; it has {some(sorted(self.files), 8)}")
        return self.path / name

    @property
    def size(self) -> int:
        """Bytes of all files, without the manifest."""
        return sum(size for size, _ in self.files.values())


def valid_name(name: str) -> str:
    """The name, if a segment may have it.

    Raises
    ------
    ParameterError
        If it may not.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ParameterError(
            f"{name!r} is no name of a segment; give small letters, digits, '-' and '_' only, such as 'r0003-w02'"
        )
    return name


def manifest_of(name: str, folder: Path, info: Mapping[str, Any]) -> bytes:
    """The manifest of a folder whose files are all written: what they are and, for each, size and SHA-256.

    Raises
    ------
    StoreError
        If the folder is empty or holds something that is no finished regular file; the message names it.
    ParameterError
        If ``info`` is no plain JSON.
    """
    noted = plain_json(info, "info")
    names = _finished_files(folder)
    files = {}
    with writing(folder):
        for file in names:
            size, digest = _size_and_digest(folder / file)
            files[file] = {"size": size, "sha256": digest}
    return sealed({"format": FORMAT, "name": name, "info": noted, "files": files})


def seal(folder: Path, manifest: bytes) -> None:
    """Write the manifest into a folder and let all of it outlast a loss of power; nothing is left of a failed try."""
    with writing(folder):
        try:
            for file in sorted(folder.iterdir()):
                # a run that is shared is shared by group; that anybody may change what is committed is never meant
                mode = stat.S_IMODE(file.stat().st_mode)
                if mode & stat.S_IWOTH:
                    file.chmod(mode & ~stat.S_IWOTH)
                sync(file)
            write_synced(folder / MANIFEST, manifest)
            sync(folder)
        except BaseException:
            unseal(folder)
            raise


def unseal(folder: Path) -> None:
    """Take the manifest away from a folder that was not committed, so that it can be tried again."""
    with suppress(OSError):
        (folder / MANIFEST).unlink()


def read_manifest(name: str, folder: Path, label: str) -> Entry:
    """The entry in a committed folder; the files are not looked at.

    Raises
    ------
    StoreError
        If there is no manifest, or it is torn, was changed, or is of another format or segment.
    """
    data = read_bytes(folder / MANIFEST, label, REMEDY)
    content = unsealed(data, f"{label}/{MANIFEST}", REMEDY)
    if content.get("name") != name:
        raise StoreError(f"{label} is the segment {content.get('name')!r} under another name; name it that again")
    files = {file: (entry["size"], entry["sha256"]) for file, entry in content["files"].items()}
    return Entry(name, folder, frozen(content["info"]), frozen(files), hashlib.sha256(data).hexdigest())


def missing_files(entry: Entry) -> list[str]:
    """What a look at the sizes says is wrong with the files, without reading them."""
    wrong = []
    for name, (size, _) in entry.files.items():
        try:
            now = (entry.path / name).stat().st_size
        except OSError as error:
            wrong.append(f"{name} is missing" if error.errno == errno.ENOENT else f"{name}: {error.strerror}")
            continue
        if now != size:
            wrong.append(f"{name} has {counted(now, 'byte')}, had {size}")
    return wrong


def verify_entry(name: str, folder: Path, label: str) -> list[Verdict]:
    """Read everything in a committed folder again; one verdict for each thing that is wrong, or one that all is well."""
    try:
        entry = read_manifest(name, folder, label)
        present = {path.name for path in inside(folder)}
    except StoreError as error:
        return [Verdict(f"{label}/{MANIFEST}", False, str(error))]
    verdicts = []
    for file in sorted(entry.files):
        wrong = _changed(folder / file, *entry.files[file])
        if wrong:
            verdicts.append(Verdict(f"{label}/{file}", False, wrong, REMEDY))
    for file in sorted(present - {*entry.files, MANIFEST}):
        says = "was not there when the segment was committed"
        verdicts.append(
            Verdict(f"{label}/{file}", False, says, "move it out of the run; nothing here is ever added to")
        )
    says = f"{counted(len(entry.files), 'file')}, {size_text(entry.size)}, as committed"
    return verdicts or [Verdict(label, True, says)]


def _changed(path: Path, size: int, digest: str) -> str:
    """What is not as it was committed; empty if all is."""
    try:
        now, digest_now = _size_and_digest(path)
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if now != size:
        return f"has {now} bytes, had {size} when it was committed"
    if digest_now != digest:
        return f"was changed: its SHA-256 is {digest_now[:12]}..., was {digest[:12]}... when it was committed"
    return ""


def _size_and_digest(path: Path) -> tuple[int, str]:
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
        return handle.tell(), digest


def _finished_files(folder: Path) -> list[str]:
    """The names of the files in a staged folder, if each is a finished regular file."""
    with writing(folder), os.scandir(folder) as scan:
        found = sorted(scan, key=lambda item: item.name)
        for item in found:
            wrong = _unfinished(item)
            if wrong:
                raise StoreError(
                    f"cannot commit {folder}: {item.name!r} {wrong}; a segment is a flat folder of finished files"
                )
    if not found:
        raise StoreError(f"cannot commit {folder}: it is empty; write the files of the segment into it first")
    return [item.name for item in found]


def _unfinished(item: os.DirEntry[str]) -> str:
    """What keeps a thing in a staged folder from being committed; empty if nothing does."""
    if item.is_symlink():
        return "is a symbolic link"
    if item.is_dir():
        return "is a folder"
    if not item.is_file():
        return "is no regular file"
    if item.name == MANIFEST:
        return "is a name that the store keeps for itself"
    if item.name.startswith(".") or item.name.endswith((*_TEMPORARY, "~")):
        return "looks temporary: whoever wrote it did not finish"
    if not _FILE.fullmatch(item.name):
        return "has a name that not every system can hold (use letters, digits, '.', '_', '+' and '-')"
    if item.stat().st_size == 0:
        return "has no bytes: whoever wrote it did not finish"
    return ""
