"""The layers hold: imports run one way, the gateway stays without torch, and the client without a server."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "pixano_inference"

# What each part may import of the others. A part that is not named here may import what it likes, but nothing that
# is named here may import it.
LAYERS: dict[str, set[str]] = {
    "errors": set(),
    "schemas": set(),
    "client": {"schemas"},
    "configs": {"errors", "schemas"},
    "bounds": {"configs", "errors", "schemas"},
    "media": {"configs", "errors", "schemas"},
    "protocol": {"errors", "schemas"},
    "oip": {"configs", "errors", "media", "protocol", "schemas"},
    "models": {"configs", "errors", "media", "schemas"},
    "model_sets": {"configs", "errors", "models", "schemas"},
    "runner": {"bounds", "configs", "errors", "media", "model_sets", "models", "oip", "protocol", "schemas"},
    # of the runner only the names that both ends of the protocol agree on
    "gateway": {
        "bounds",
        "configs",
        "errors",
        "media",
        "model_sets",
        "oip",
        "protocol",
        "runner.wire_names",
        "schemas",
    },
    "serving": {"configs", "errors", "gateway", "model_sets", "protocol", "runner"},
}

TORCH_PARTS = ("models", "runner")
SERVER = ("aiohttp", "av", "bentoml", "fastapi", "pydantic_settings", "starlette", "tqdm", "uvicorn")
MODELS = ("safetensors", "torch", "transformers")


def imports_of(file: Path) -> Iterator[tuple[str, bool]]:
    """Yield the full name of each import, and whether it happens when the module is imported."""
    package = (PACKAGE.name, *file.relative_to(PACKAGE).parent.parts)
    tree = ast.parse(file.read_text(encoding="utf-8"))
    late = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node not in late
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            if module == PACKAGE.name:
                for alias in node.names:
                    yield f"{module}.{alias.name}", node not in late
            else:
                yield module, node not in late


def parts(name: str) -> Iterator[Path]:
    folder = PACKAGE / name
    yield from folder.rglob("*.py") if folder.is_dir() else [PACKAGE / f"{name}.py"]


@pytest.mark.parametrize("part", LAYERS)
def test_imports_run_one_way(part: str) -> None:
    allowed = {f"{PACKAGE.name}.{other}" for other in LAYERS[part] | {part, "__version__"}}
    for file in parts(part):
        for name, _ in imports_of(file):
            if name.startswith(PACKAGE.name):
                assert any(name == other or name.startswith(other + ".") for other in allowed), f"{file} imports {name}"


def test_torch_is_imported_where_models_compute_and_nowhere_else() -> None:
    for file in PACKAGE.rglob("*.py"):
        names = {name for name, at_import in imports_of(file) if at_import and name.split(".")[0] in MODELS}
        if names:
            path = file.relative_to(PACKAGE)
            assert path.parts[0] in TORCH_PARTS, f"{path} imports {names}"


def python(code: str) -> str:
    """Run code in a fresh interpreter and return what it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("pixano_inference.gateway.app", MODELS),
        ("pixano_inference.models", (*MODELS, "bentoml")),
        # FastAPI is there for one class alone, and only where it is installed
        ("pixano_inference.client", (*MODELS, "aiohttp", "bentoml", "pydantic_settings", "tqdm", "uvicorn")),
    ],
)
def test_what_an_import_brings_along(module: str, absent: tuple[str, ...]) -> None:
    found = python(f"import sys, {module}; print([name for name in {absent!r} if name in sys.modules])")
    assert found.strip() == "[]"


def test_the_client_works_in_a_light_install() -> None:
    code = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {(*SERVER, *MODELS)!r}:
            raise ImportError(name + " is not installed")

sys.meta_path.insert(0, Blocker())

import httpx
from pixano_inference.client import RequestFailed, SyncPixanoInferenceClient, segmentation_request

def answer(request):
    return httpx.Response(404, json={{"detail": "Model 'm' not found"}})

client = SyncPixanoInferenceClient("http://127.0.0.1:1", transport=httpx.MockTransport(answer))
try:
    client.segmentation(segmentation_request("m", b"no image"))
except RequestFailed as error:
    print(error.status_code, error.detail, isinstance(error, Exception), str(error))
print([name for name in {(*SERVER, *MODELS)!r} if name in sys.modules])
"""
    assert python(code).splitlines() == ["404 Model 'm' not found True 404: Model 'm' not found", "[]"]


@pytest.mark.parametrize("name", ["client", "configs", "models", "schemas", "model_sets"])
def test_what_is_public_is_exported(name: str) -> None:
    package = importlib.import_module(f"{PACKAGE.name}.{name}")
    public = {
        name
        for name, value in vars(package).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType) and name != "annotations"
    }
    assert public == set(package.__all__)
    assert len(package.__all__) == len(set(package.__all__))
