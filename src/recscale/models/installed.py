"""Do torch, TorchRec and FBGEMM belong together? Mismatched pairs crash later, and obscurely."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version

# FBGEMM's own compatibility table (fbgemm_gpu/__init__.py): its minor version and torch's.
PAIRS = {"1.5": "2.10", "1.6": "2.11", "1.7": "2.12", "1.8": "2.13", "1.9": "2.14"}
FBGEMM = ("fbgemm-gpu", "fbgemm-gpu-cpu")
MEND = "make a fresh .venv with `make setup`"


def fault(found: dict[str, str]) -> str | None:
    """Package name -> version; the first thing wrong, with its mend, or None."""
    fbgemm = [name for name in FBGEMM if name in found]
    if len(fbgemm) == 2:
        return f"fbgemm-gpu and fbgemm-gpu-cpu overwrite each other: keep one; {MEND}"
    missing = [name for name in ("torch", "torchrec") if name not in found]
    if missing or not fbgemm:
        return f"{', '.join(missing or ['fbgemm-gpu-cpu'])}: not installed; {MEND}"
    name = fbgemm[0]
    torch, torchrec = _minor(found["torch"]), _minor(found["torchrec"])
    if torchrec != _minor(found[name]):
        return f"torchrec {found['torchrec']} does not match {name} {found[name]}; {MEND}"
    if PAIRS.get(torchrec, torch) != torch:
        return (
            f"torchrec {found['torchrec']} needs torch {PAIRS[torchrec]}, found "
            f"{found['torch']}; {MEND}"
        )
    return None


def installed() -> dict[str, str]:
    """Versions of what is installed here."""
    found: dict[str, str] = {}
    for name in ("torch", "torchrec", *FBGEMM):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def require() -> None:
    """Raises ImportError with one line that names the mend."""
    told = fault(installed())
    if told is not None:
        raise ImportError(told)


def _minor(text: str) -> str:
    return ".".join(text.split("+")[0].split(".")[:2])


if __name__ == "__main__":
    wrong = fault(installed())
    if wrong is not None:
        sys.exit(f"recscale: {wrong}")
