"""Names that gateway and runner share."""

SECRET_HEADER = "x-pixano-runner-secret"  # noqa: S105  # the name of a header

CALLER_HEADER = "x-pixano-caller"
"""Carries the id of the caller's API key, by which the queue before a model is fair."""
