"""The errors of the server, each with the HTTP status it becomes.

::

    PixanoError                 500
    ├── InvalidInput            422  the content of a request cannot be used
    ├── BadRequest              400  the request does not fit the endpoint (wrong capability, broken multipart)
    ├── NotAuthenticated        401  no API key, or an unknown one
    ├── NotFound                404  no such model, job or stored image
    ├── TooLarge                413  body or media over a limit
    ├── Overloaded              429  the queue of the model, or the share of the caller, is full
    ├── ModelFailed             500  the model raised or answered something invalid
    ├── Unavailable             503  the runner of the model is not up
    ├── TimedOut                504  the model took longer than its time limit
    ├── Canceled                499  the caller went away; nobody reads this status
    └── ConfigError             -    the model set is wrong: the server does not start
"""

from __future__ import annotations


class PixanoError(Exception):
    """Root of all errors that are answered on purpose.

    Args:
        message: What was wrong, where, and what is allowed. It is shown to the caller.
        code: Machine-readable word for programs that react to one special case.
        retry_after_s: Seconds after which a retry makes sense, for 429 and 503.
        location: Path of the offending field, for instance ``("body", "points")``.
    """

    status = 500

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        retry_after_s: float | None = None,
        location: tuple[str | int, ...] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.retry_after_s = retry_after_s
        self.location = location


class InvalidInput(PixanoError):
    """The request fits the schema, but its content cannot be used."""

    status = 422


class BadRequest(PixanoError):
    """The request does not fit the endpoint."""

    status = 400


class NotAuthenticated(PixanoError):
    """No API key was sent, or one that is not known."""

    status = 401


class NotFound(PixanoError):
    """There is no such model, job or stored image."""

    status = 404


class TooLarge(PixanoError):
    """The body or a medium is over its limit."""

    status = 413


class Overloaded(PixanoError):
    """A queue is full."""

    status = 429


class ModelFailed(PixanoError):
    """The model raised, or answered something that is not its output type."""

    status = 500


class Unavailable(PixanoError):
    """The runner of the model cannot be reached."""

    status = 503


class TimedOut(PixanoError):
    """The model took longer than its time limit."""

    status = 504


class Canceled(PixanoError):
    """The caller went away or gave up."""

    status = 499


class ConfigError(PixanoError):
    """The model set cannot be served; the message names the file and the entry."""


_BY_NAME: dict[str, type[PixanoError]] = {
    cls.__name__: cls
    for cls in (
        PixanoError, InvalidInput, BadRequest, NotAuthenticated, NotFound, TooLarge, Overloaded, ModelFailed,
        Unavailable, TimedOut, Canceled, ConfigError,
    )
}  # fmt: skip


def to_wire(error: PixanoError) -> dict[str, object]:
    """Return the fields of an error that travel from a runner to the gateway."""
    return {
        "type": type(error).__name__ if type(error).__name__ in _BY_NAME else PixanoError.__name__,
        "message": error.message,
        "code": error.code,
        "retry_after_s": error.retry_after_s,
        "location": list(error.location) if error.location is not None else None,
    }


def from_wire(fields: dict[str, object]) -> PixanoError:
    """Make the error again that :func:`to_wire` wrote; unknown types become the root error."""
    cls = _BY_NAME.get(str(fields.get("type")), PixanoError)
    code, retry, location = fields.get("code"), fields.get("retry_after_s"), fields.get("location")
    return cls(
        str(fields.get("message", "")),
        code=code if isinstance(code, str) else None,
        retry_after_s=float(retry) if isinstance(retry, int | float) else None,
        location=tuple(part for part in location if isinstance(part, str | int))
        if isinstance(location, list)
        else None,
    )
