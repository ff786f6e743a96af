"""The paced tracker alone, for a server whose parts are started apart."""

from pixano_inference.configs import ModelConfig
from tests.model_sets.paced import PacedTracker

models = [ModelConfig(name="tracker", model_class=PacedTracker)]
