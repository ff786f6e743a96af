"""From a Python config file to a resolved model set.

The file is Python, and so are the custom models it names; both may import torch. They are executed in a process of
their own (:func:`resolve`), so that neither the supervisor nor the gateway pays for that.
"""

from __future__ import annotations

import runpy
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from pixano_inference.configs import FreeParams, ModelConfig, ModelParams
from pixano_inference.errors import ConfigError
from pixano_inference.models.base import InferenceModel
from pixano_inference.models.registry import describe, registered_class
from pixano_inference.schemas import Capability

from .custom_modules import import_module, modules_defining
from .resolved import ModelSet, ResolvedModel

_EXIT_CONFIG_ERROR = 3


def resolve(config: Path, module_paths: Sequence[Path] = ()) -> ModelSet:
    """Load a config file in a process of its own and return the resolved set.

    Raises:
        ConfigError: One line that names the file, the entry and what is wrong with it.
    """
    command = [sys.executable, "-m", "pixano_inference.model_sets.loader", str(config), *map(str, module_paths)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)  # noqa: S603  # our own interpreter and module
    if done.returncode == _EXIT_CONFIG_ERROR:
        raise ConfigError(done.stderr.strip().splitlines()[-1])
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ConfigError(f"{config}: loading it ended with exit status {done.returncode}: {last}")
    return ModelSet.model_validate_json(done.stdout.splitlines()[-1])


def load(config: Path, module_paths: Sequence[Path] = ()) -> ModelSet:
    """Load a config file in this process.

    Raises:
        ConfigError: One line that names the file, the entry and what is wrong with it.
    """
    if not config.is_file():
        raise ConfigError(f"{config}: there is no such file")
    for folder in module_paths:
        if not folder.is_dir():
            raise ConfigError(f"module path {folder}: there is no such folder")
    folders = [config.resolve().parent, *(folder.resolve() for folder in module_paths)]
    entries = _entries(config, folders)
    models = [_resolve_entry(config, index, entry, folders) for index, entry in enumerate(entries)]
    seen: dict[str, int] = {}
    for index, model in enumerate(models):
        if model.name in seen:
            raise ConfigError(
                f"{config}: models[{index}] and models[{seen[model.name]}] have the same name {model.name!r}"
            )
        seen[model.name] = index
    return ModelSet(source=config.name, module_paths=[str(folder) for folder in folders], models=models)


def _entries(config: Path, folders: Sequence[Path]) -> list[ModelConfig]:
    for folder in reversed(folders):
        sys.path.insert(0, str(folder))
    try:
        # the name under which classes of this file can be imported again by a runner
        namespace = runpy.run_path(str(config), run_name=config.stem)
    except SyntaxError as error:
        raise ConfigError(f"{config}, line {error.lineno}: syntax error: {error.msg}") from error
    except ValidationError as error:
        raise ConfigError(f"{config}{_line(config, error)}: {error.title}: {_explain(error)}") from error
    except SystemExit as error:
        raise ConfigError(f"{config}: it calls exit({error.code!r})") from error
    except Exception as error:  # a user's file may raise anything
        raise ConfigError(f"{config}{_line(config, error)}: {type(error).__name__}: {error}") from error
    if "models" not in namespace:
        raise ConfigError(f"{config}: it defines no list 'models' of ModelConfig")
    entries = namespace["models"]
    if not isinstance(entries, list | tuple):
        raise ConfigError(f"{config}: 'models' must be a list of ModelConfig, got {type(entries).__name__}")
    if not entries:
        raise ConfigError(f"{config}: the list 'models' is empty")
    for index, entry in enumerate(entries):
        if not isinstance(entry, ModelConfig):
            raise ConfigError(f"{config}: models[{index}] must be a ModelConfig, got {type(entry).__name__}")
    return list(entries)


def _line(config: Path, error: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(config)]
    return f", line {frames[-1].lineno}" if frames else ""


def _explain(error: ValidationError) -> str:
    parts = []
    for item in error.errors(include_url=False, include_input=False):
        field = ".".join(map(str, item["loc"])) or "entry"
        parts.append(f"{field}: {item['msg'].removeprefix('Value error, ')}")
    return "; ".join(parts)


def _resolve_entry(config: Path, index: int, entry: ModelConfig, folders: Sequence[Path]) -> ResolvedModel:
    where = f"{config}: models[{index}] ({entry.name!r})"
    try:
        capability, params_class, target = _find_class(config, entry, folders)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    params = _typed_params(where, entry, params_class)
    shown = params.path
    if params.path is not None and not Path(params.path).is_absolute():
        beside = folders[0] / params.path
        if beside.exists():
            params = params.model_copy(update={"path": str(beside)})
    return ResolvedModel(
        name=entry.name,
        capability=capability,
        model_class=entry.class_name,
        target=target,
        model_path=shown,
        params=params.model_dump(mode="json", exclude_unset=True),
        deployment=entry.deployment,
    )


def _find_class(
    config: Path, entry: ModelConfig, folders: Sequence[Path]
) -> tuple[Capability, type[ModelParams], str | None]:
    if isinstance(entry.model_class, type):
        return _described(entry.model_class, entry.class_name)
    name, paths = entry.model_class, [str(folder) for folder in folders]
    if entry.model_module is not None:
        module = import_module(entry.model_module, paths)
        found = getattr(module, name, None) or registered_class(name)
        if found is None:
            raise ConfigError(f"module {entry.model_module!r} has no model class {name!r}")
        return _described(found, name)
    if registered_class(name) is None:
        for module_name in modules_defining(name, folders, exclude=config):
            module = import_module(module_name, paths)
            found = registered_class(name) or getattr(module, name, None)
            if found is not None:
                return _described(found, name)
    found = registered_class(name)
    if found is not None:
        return _described(found, name)
    capability, params_class = describe(name)
    return capability, params_class, None


def _described(cls: object, name: str) -> tuple[Capability, type[ModelParams], str]:
    if not (isinstance(cls, type) and issubclass(cls, InferenceModel)) or not hasattr(cls, "capability"):
        raise ConfigError(
            f"model class {name!r} must subclass SegmentationModel, DetectionModel, TrackingModel or VLMModel"
        )
    if "<locals>" in cls.__qualname__:
        raise ConfigError(f"model class {name!r} must be defined at the top level of its module")
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if missing:
        raise ConfigError(f"model class {name!r} does not implement {', '.join(missing)}")
    return cls.capability, cls.params_class, f"{cls.__module__}:{cls.__qualname__}"


def _typed_params(where: str, entry: ModelConfig, params_class: type[ModelParams]) -> ModelParams:
    params = entry.model_params
    if isinstance(params, params_class):
        return params
    if not isinstance(params, FreeParams):
        raise ConfigError(
            f"{where}: model_params of {entry.class_name} must be {params_class.__name__} or a dict, "
            f"got {type(params).__name__}"
        )
    given = {key: value for key, value in params.model_dump().items() if key in params.model_fields_set}
    try:
        return params_class(**given)
    except ValidationError as error:
        allowed = ", ".join(params_class.model_fields)
        raise ConfigError(f"{where}: model_params: {_explain(error)} (known are {allowed})") from error


def main(arguments: Sequence[str]) -> int:
    """Print the resolved set as one line of JSON; an error as one line on stderr."""
    try:
        model_set = load(Path(arguments[0]), [Path(folder) for folder in arguments[1:]])
    except ConfigError as error:
        sys.stderr.write(" ".join(str(error).split()) + "\n")
        return _EXIT_CONFIG_ERROR
    sys.stdout.write("\n" + model_set.model_dump_json() + "\n")
    return 0


if __name__ == "__main__":
    # run as __main__, this module would be a second copy whose ConfigError nobody else raises
    from pixano_inference.model_sets import loader

    raise SystemExit(loader.main(sys.argv[1:]))
