"""Uploads as multipart/form-data (RFC 7578): bytes come in as bytes, bounded while they arrive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, Literal, TypeVar

import orjson
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from pixano_inference.configs.server_settings import ServerSettings
from pixano_inference.errors import BadRequest, InvalidInput, PixanoError, TooLarge
from pixano_inference.schemas.base import Schema

from .array_json import load_json

SchemaT = TypeVar("SchemaT", bound=Schema)
KeptT = TypeVar("KeptT")

_MIB = 1024 * 1024
_MAX_OTHER_PARTS = 16
_MAX_HEADER_BYTES = 8192
_MAX_HEADERS_OF_PART = 16


async def read_multipart(
    request: Request, settings: ServerSettings, *, files: Literal["image", "frames"]
) -> tuple[bytes, list[bytes]]:
    """Read an upload into memory, see :func:`read_upload_parts`."""
    return await read_upload_parts(request, settings, files=files, keep=lambda data: data)


async def read_upload_parts(
    request: Request, settings: ServerSettings, *, files: Literal["image", "frames"], keep: Callable[[bytes], KeptT]
) -> tuple[bytes, list[KeptT]]:
    """Read an upload: one part ``metadata``, and one part ``image`` or any number of parts ``frames``.

    Metadata may be a file part or a plain text field. Parts of other names are skipped.

    Args:
        request: A request whose body has not been read.
        settings: The limits. An image upload is bounded as a body is, one of frames as a video is.
        files: Name of the parts that hold files.
        keep: Called with each file as soon as it is complete; what it returns is kept in its place.

    Returns:
        The metadata, and what ``keep`` made of the files, in the order in which they were sent.

    Raises:
        BadRequest: The body is no multipart form, is cut short, or its metadata is missing or there twice.
        InvalidInput: There is no file part, or more than one image.
        TooLarge: The body or the number of parts is over its limit.
    """
    limit = int((settings.max_body_mb if files == "image" else settings.max_upload_mb) * _MIB)
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise _body_too_large(limit)
    form = _Form(
        files,
        keep,
        max_files=1 if files == "image" else settings.max_frames,
        max_metadata=int(settings.max_body_mb * _MIB),
    )
    parser = _parser(request.headers.get("content-type", ""), form)
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise _body_too_large(limit)
        _feed(parser, chunk)
    return form.result()


def parse_metadata(data: bytes, schema: type[SchemaT], extra: Mapping[str, Any]) -> SchemaT:
    """Make a request from uploaded metadata and the media that came beside it.

    Args:
        data: JSON object in UTF-8.
        schema: The request to make.
        extra: Fields that did not come in the metadata, such as the image's bytes; they win over the metadata's.

    Raises:
        BadRequest: The metadata is not a JSON object (NaN, infinities and lone surrogates are not JSON).
        RequestValidationError: It does not fit the schema (422); the errors hold nothing of the input.
    """
    try:
        fields = load_json(data)
    except orjson.JSONDecodeError as error:
        raise BadRequest(
            f"metadata is not valid JSON: line {error.lineno}, column {error.colno}", code="metadata"
        ) from None
    if not isinstance(fields, dict):
        raise BadRequest("metadata must be a JSON object", code="metadata")
    try:
        return schema.model_validate({**fields, **extra})
    except ValidationError as error:
        raise RequestValidationError(
            [
                {"loc": ("body", *detail["loc"]), "msg": detail["msg"], "type": detail["type"]}
                for detail in error.errors(include_url=False, include_input=False, include_context=False)
            ]
        ) from None


def _body_too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than the allowed {limit} bytes", code="body")


def _parser(content_type: str, form: _Form[Any]) -> MultipartParser:
    try:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind.strip().lower() != b"multipart/form-data" or not boundary:
            raise BadRequest("the body must be multipart/form-data with a boundary", code="multipart")
        return MultipartParser(
            boundary,
            {
                "on_part_begin": form.begin_part,
                "on_header_field": form.header_name,
                "on_header_value": form.header_value,
                "on_header_end": form.end_header,
                "on_headers_finished": form.end_headers,
                "on_part_data": form.data,
                "on_part_end": form.end_part,
                "on_end": form.end,
            },
            max_header_count=_MAX_HEADERS_OF_PART,
            max_header_size=_MAX_HEADER_BYTES,
        )
    except (FormParserError, UnicodeError, ValueError):
        raise BadRequest("the Content-Type of the multipart body is broken", code="multipart") from None


def _feed(parser: MultipartParser, chunk: bytes) -> None:
    try:
        if chunk:
            parser.write(chunk)
    except PixanoError:
        raise
    except (FormParserError, UnicodeError, ValueError):
        # the parser's words are about its states and bytes
        raise BadRequest("the multipart body is broken", code="multipart") from None


class _Form(Generic[KeptT]):
    """Collects the parts as the parser finds them."""

    def __init__(self, files: str, keep: Callable[[bytes], KeptT], *, max_files: int, max_metadata: int) -> None:
        self._files_name = files
        self._keep = keep
        self._max_files = max_files
        self._max_metadata = max_metadata
        self._metadata: bytes | None = None
        self._files: list[KeptT] = []
        self._other_parts = 0
        self._name = ""
        self._header = b""
        self._value = b""
        self._disposition = b""
        self._chunks: list[bytes] = []
        self._size = 0
        self._complete = False

    def result(self) -> tuple[bytes, list[KeptT]]:
        if not self._complete:
            raise BadRequest("the multipart body ends before its last boundary", code="multipart")
        if self._metadata is None:
            raise BadRequest("the part 'metadata' is missing", code="metadata")
        if not self._files:
            raise InvalidInput(
                f"the part '{self._files_name}' is missing", code="missing", location=("body", self._files_name)
            )
        return self._metadata, self._files

    def begin_part(self) -> None:
        self._name, self._disposition, self._header, self._value = "", b"", b"", b""
        self._chunks, self._size = [], 0

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if self._name == "metadata":
            if self._metadata is not None:
                raise BadRequest("the part 'metadata' is there twice", code="metadata")
        elif self._name == self._files_name:
            if len(self._files) >= self._max_files:
                self._refuse_another_file()
        else:
            self._other_parts += 1
            if self._other_parts > _MAX_OTHER_PARTS:
                raise TooLarge(f"the body has more than {_MAX_OTHER_PARTS} parts of unknown names", code="multipart")

    def _refuse_another_file(self) -> None:
        if self._files_name == "image":
            raise InvalidInput("the part 'image' is there twice", code="multipart", location=("body", "image"))
        raise TooLarge(
            f"the video has more than the allowed {self._max_files} frames", code="frames", location=("body", "frames")
        )

    def data(self, data: bytes, start: int, end: int) -> None:
        if self._name not in ("metadata", self._files_name):
            return
        self._size += end - start
        if self._name == "metadata" and self._size > self._max_metadata:
            raise TooLarge(f"metadata is larger than the allowed {self._max_metadata} bytes", code="metadata")
        self._chunks.append(data[start:end])

    def end_part(self) -> None:
        if self._name == "metadata":
            self._metadata = b"".join(self._chunks)
        elif self._name == self._files_name:
            self._files.append(self._keep(b"".join(self._chunks)))
        self._chunks = []

    def end(self) -> None:
        self._complete = True
