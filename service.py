"""The Bento: what ``bentoml serve`` and ``bentoml build`` find.

The model set is the one that ``PIXANO_CONFIG`` names, by default models/demo.py. With ``PIXANO_ROLE=gateway`` or
``PIXANO_ROLE=runner:<model>`` the same Bento is the gateway or one runner alone.
"""

from pixano_inference.serving.entry import service

__all__ = ["service"]
