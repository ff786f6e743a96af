"""Finding the module of a custom model class without importing every file that lies around."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from pixano_inference.errors import ConfigError


def _candidates(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.glob("*.py")):
        yield path.stem, path
    for package in sorted(folder.glob("*/__init__.py")):
        for path in sorted(package.parent.glob("*.py")):
            stem = "" if path.name == "__init__.py" else f".{path.stem}"
            yield package.parent.name + stem, path


def _defines(path: Path, class_name: str) -> bool:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return False
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        if node.name == class_name:
            return True
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and any(
                isinstance(argument, ast.Constant) and argument.value == class_name
                for argument in [*decorator.args, *(keyword.value for keyword in decorator.keywords)]
            ):
                return True
    return False


def modules_defining(class_name: str, folders: Iterable[Path], exclude: Path) -> list[str]:
    """Return the importable names of modules that define or register ``class_name``; ``exclude`` is passed over."""
    return [
        module
        for folder in folders
        for module, path in _candidates(folder)
        if path.resolve() != exclude.resolve() and _defines(path, class_name)
    ]


def import_module(name: str, folders: Iterable[str]) -> ModuleType:
    """Import a module with ``folders`` on the import path.

    Raises:
        ConfigError: It cannot be imported; the message names the module and the reason.
    """
    for folder in reversed([*folders]):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    except ConfigError:
        raise
    except Exception as error:  # a user's module may raise anything
        raise ConfigError(f"module {name!r} cannot be imported: {type(error).__name__}: {error}") from error
