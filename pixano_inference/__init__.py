"""Pixano Inference: an inference server for image and video annotation, on BentoML."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("pixano-inference")
except PackageNotFoundError:  # run from a checkout or inside a Bento, where the package is not installed
    __version__ = "1.0.0.dev0"

__all__ = ["__version__"]
