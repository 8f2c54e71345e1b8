"""Public logs from their publishers: checked before use, unpacked aside, then renamed."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import tarfile
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from recscale.data.aside import whole_folder
from recscale.data.schema import DataError

TIMEOUT_SECONDS = 30
BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Archive:
    """A published archive that holds one folder."""

    url: str
    md5: str
    folder: str  # its single top folder, and the name under the data root

    @property
    def name(self) -> str:
        """The file name, for those who fetch it by hand."""
        return self.url.rsplit("/", 1)[-1]


# GroupLens publishes the checksum beside each archive as NAME.zip.md5, Zenodo in its record.
ML_1M = Archive(
    "https://files.grouplens.org/datasets/movielens/ml-1m.zip",
    "c4d9eecfca2ab87c1945afe126590906",
    "ml-1m",
)
ML_100K = Archive(
    "https://files.grouplens.org/datasets/movielens/ml-100k.zip",
    "0e33842e24a9c977be4e0107933c0723",
    "ml-100k",
)
KUAIRAND_PURE = Archive(
    "https://zenodo.org/records/10439422/files/KuaiRand-Pure.tar.gz",
    "0820331067a3784d9691136f772b35a7",
    "KuaiRand-Pure",
)


def fetch(archive: Archive, root: Path) -> Path:
    """The unpacked folder under `root`, downloaded unless the archive was put there by hand.

    Raises DataError, one line, where it cannot be had or is not what its publisher published.
    """
    folder = root / archive.folder
    if folder.exists():
        raise DataError(f"{folder}: lacks files of {archive.name}; add them, or remove the folder")
    by_hand = root / archive.name
    with whole_folder(folder) as aside:
        packed = by_hand if by_hand.exists() else aside / archive.name
        if not by_hand.exists():
            _download(archive, packed, root)
        _check(archive, packed, str(by_hand) if by_hand.exists() else archive.url)
        inner = aside / "unpacked"
        _unpack(packed, inner)
        if not (inner / archive.folder).is_dir():
            raise DataError(f"{packed}: no folder {archive.folder} in it")
        if packed != by_hand:
            packed.unlink()
        for path in (inner / archive.folder).iterdir():
            path.rename(aside / path.name)
        shutil.rmtree(inner)
    return folder


def _download(archive: Archive, to: Path, root: Path) -> None:
    try:
        with (
            urllib.request.urlopen(archive.url, timeout=TIMEOUT_SECONDS) as answer,
            to.open("wb") as file,
        ):
            while block := answer.read(BLOCK):
                file.write(block)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(
            f"{archive.url}: download failed ({reason}); fetch it by hand and put it at "
            f"{root / archive.name}"
        ) from error


def _check(archive: Archive, packed: Path, told: str) -> None:
    digest = hashlib.md5(usedforsecurity=False)  # md5 is what the publishers give
    with packed.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    if digest.hexdigest() != archive.md5:
        raise DataError(f"{told}: md5 is {digest.hexdigest()}, its publisher says {archive.md5}")


def _unpack(packed: Path, into: Path) -> None:
    """Refuses archives whose members would land outside `into`."""
    try:
        if packed.suffix == ".zip":
            with zipfile.ZipFile(packed) as zipped:
                _refuse_escapes(zipped.namelist(), packed)
                zipped.extractall(into)
        else:
            with tarfile.open(packed) as tarred:
                _refuse_escapes(tarred.getnames(), packed)
                tarred.extractall(into, filter="data")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"{packed}: cannot be unpacked ({' '.join(str(error).split())})") from error


def _refuse_escapes(names: list[str], packed: Path) -> None:
    for name in names:
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts:
            raise DataError(f"{packed}: member {name} would land outside its folder")
