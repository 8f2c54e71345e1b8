"""The map in README.md, enforced: layers import downwards, each library has one home."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "recscale"
LAYERS = ["__init__", "types", "configfile", "data", "features", "models", "evaluation", "training",
          "serving", "config", "claim", "record", "members", "validation", "pipeline", "timing",
          "completion", "forget", "scaling", "serve", "compare", "report", "options", "cli_scaling",
          "cli", "__main__"]  # fmt: skip
HOMES = {"polars": {"data", "features"}, "torchrec": {"models/embedding", "models/sharded"},
         "lightning": {"training"}, "optuna": {"scaling/sweep", "scaling/claims"},
         "plotly": {"report"}, "typer": {"cli", "cli_scaling", "options"}, "fastapi": {"serving"},
         "starlette": {"serving"}, "uvicorn": {"serving/server"},
         "prometheus_client": {"serving/monitor"}, "faiss": {"serving/index"}}  # fmt: skip
FILES = sorted(ROOT.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Lazy imports inside functions count too: the tree is walked whole."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def place(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").as_posix()


def layer(name: str) -> int:
    return LAYERS.index(name)


@pytest.mark.parametrize("path", FILES, ids=place)
def test_imports_only_from_layers_below(path: Path):
    mine = layer(place(path).split("/")[0])
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "recscale" and parts[1] in LAYERS:
            assert layer(parts[1]) <= mine, f"{place(path)} must not import {name}"


@pytest.mark.parametrize("path", FILES, ids=place)
def test_each_library_stays_in_its_home(path: Path):
    for name in imports(path):
        homes = HOMES.get(name.split(".")[0])
        here = place(path)
        assert homes is None or any(here == h or here.startswith(h + "/") for h in homes), (
            f"{here} must not import {name}; its home is {homes}"
        )


def test_the_data_layer_runs_without_torch():
    for path in FILES:
        if place(path).startswith("data/"):
            assert not any(name.split(".")[0] == "torch" for name in imports(path)), place(path)


@pytest.mark.parametrize("path", FILES, ids=place)
def test_files_and_functions_stay_small(path: Path):
    text = path.read_text()
    assert text.count("\n") <= 300, f"split {place(path)}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, f"split {place(path)}:{node.name}"
