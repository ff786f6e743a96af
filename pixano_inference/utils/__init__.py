"""Where model code written for the Ray-based Pixano Inference finds ``convert_string_to_image``.

The name of this package is that server's; nothing else belongs here.
"""

from .media import convert_string_to_image

__all__ = ["convert_string_to_image"]
