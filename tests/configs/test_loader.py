"""Config files: what they may say, and the one line that says what is wrong with them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pixano_inference.errors import ConfigError
from pixano_inference.model_sets.loader import load, resolve
from pixano_inference.models import registry
from tests.servers import MODEL_SETS

HEAD = "from pixano_inference.configs import *\n"


@pytest.fixture(autouse=True)
def _clean_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(registry, "_registered", {})
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(folder: Path, text: str) -> Path:
    config = folder / "set.py"
    config.write_text(HEAD + text)
    return config


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("models = [", "line 2: syntax error"),
        ("model = []", "no list 'models'"),
        ("models = {}", "must be a list"),
        ("models = []", "is empty"),
        ("models = [1]", "models[0] must be a ModelConfig, got int"),
        ("1 / 0", "line 2: ZeroDivisionError"),
        ("exit(0)", "calls exit(0)"),
        ("models = [ModelConfig(name='a', model_class='Nothing')]", "model class 'Nothing' is not known; known are"),
        ("models = [ModelConfig(model_class='Sam2ImageModel')]", "has no default here"),
        ("models = [ModelConfig(name='a b', model_class='Sam2ImageModel')]", "name 'a b' must be"),
        (
            "models = [ModelConfig(name='a', model_class='Sam2ImageModel', model_params={'pth': 'x'})]",
            "models[0] ('a'): model_params: path: Field required; pth: Extra inputs are not permitted (known are path,",
        ),
        (
            "models = [ModelConfig(name='a', model_class='Sam2ImageModel', "
            "model_params=GroundingDINOParams(path='x'))]",
            "must be Sam2ImageParams or a dict, got GroundingDINOParams",
        ),
        ("models = [ModelConfig(name='a', model_class='X', deployment=DeploymentConfig(num_gpu=1))]", "num_gpu: Extra"),
        ("models = [ModelConfig(name='a', model_class=int)]", "must subclass SegmentationModel"),
        (
            "m = ModelConfig(name='a', model_class='Sam2ImageModel', model_params={'path': 'x'})\nmodels = [m, m]",
            "models[1] and models[0] have the same name 'a'",
        ),
        (
            "from pixano_inference.models import VLMModel\n"
            "class Half(VLMModel):\n    def load_model(self): ...\n"
            "models = [ModelConfig(name='a', model_class=Half)]",
            "'Half' does not implement predict",
        ),
    ],
)
def test_a_wrong_config_is_one_line_that_names_file_and_entry(tmp_path: Path, text: str, words: str) -> None:
    config = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(config)
    message = str(caught.value)
    assert message.startswith(str(config))
    assert words in message


def test_a_missing_file_and_a_missing_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.py: there is no such file"):
        load(tmp_path / "none.py")
    config = write(tmp_path, "models = [ModelConfig(name='a', model_class='A')]")
    with pytest.raises(ConfigError, match="there is no such folder"):
        load(config, [tmp_path / "nowhere"])


def test_the_name_defaults_to_the_last_part_of_the_path(tmp_path: Path) -> None:
    text = "models = [ModelConfig(model_class='Sam2ImageModel', model_params={'path': 'facebook/sam2-hiera-tiny/'})]"
    model = load(write(tmp_path, text)).models[0]
    assert (model.name, model.model_path, model.capability) == (
        "sam2-hiera-tiny",
        "facebook/sam2-hiera-tiny/",
        "segmentation",
    )


def test_a_folder_beside_the_config_is_found_from_anywhere(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    text = "models = [ModelConfig(name='a', model_class='Sam2ImageModel', model_params={'path': 'weights'})]"
    assert load(write(tmp_path, text)).models[0].params["path"] == str(tmp_path / "weights")


def test_a_module_beside_the_config_is_found_by_the_class_it_defines(tmp_path: Path) -> None:
    (tmp_path / "unrelated.py").write_text("raise SystemExit('imported although nobody asked')")
    (tmp_path / "mine.py").write_text(
        "from pixano_inference.models import DetectionModel\n"
        "class Mine(DetectionModel):\n    def load_model(self): ...\n    def predict(self, input): ...\n"
    )
    model = load(write(tmp_path, "models = [ModelConfig(name='a', model_class='Mine')]")).models[0]
    assert (model.capability, model.target) == ("detection", "mine:Mine")


def test_a_module_on_the_module_path_is_found(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "far.py").write_text(
        "from pixano_inference.models import VLMModel, register_model\n"
        "@register_model('Far')\nclass Model(VLMModel):\n"
        "    def load_model(self): ...\n    def predict(self, input): ...\n"
    )
    model = load(
        write(tmp_path, "models = [ModelConfig(name='a', model_class='Far')]"), [tmp_path / "elsewhere"]
    ).models[0]
    assert model.target == "far:Model"


def test_a_module_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import not_installed_anywhere\nclass Bad: ...\n")
    with pytest.raises(ConfigError, match="module 'bad' cannot be imported: ModuleNotFoundError"):
        load(write(tmp_path, "models = [ModelConfig(name='a', model_class='Bad')]"))


def test_modules_of_the_ray_based_server_resolve_in_a_process_of_their_own() -> None:
    model_set = resolve(MODEL_SETS / "legacy" / "models.py")
    model = model_set.models[0]
    assert model.target == "custom.segmenter:ThresholdSegmenter"
    assert model.params == {"path": "acme/brightness", "threshold": 0.6, "config": {"invert": True}}
    assert "custom.segmenter" not in sys.modules
