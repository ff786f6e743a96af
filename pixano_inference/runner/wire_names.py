"""Names that gateway and runner share."""

SECRET_HEADER = "x-pixano-runner-secret"  # noqa: S105  # the name of a header
