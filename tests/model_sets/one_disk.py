"""A single model, for tests whose server needs settings of its own."""

from pixano_inference.configs import ModelConfig

models = [ModelConfig(name="disk", model_class="DiskModel", model_params={"radius": 6})]
