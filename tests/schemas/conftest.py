"""Property tests: few examples each, since the whole tier is to run in seconds."""

from hypothesis import settings

settings.register_profile("fast", max_examples=40, deadline=None)
settings.load_profile("fast")
