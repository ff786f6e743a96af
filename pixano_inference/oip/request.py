"""Requests of the Open Inference Protocol, from bytes: a JSON object, and binary sections behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request

from pixano_inference.configs.server_settings import ServerSettings
from pixano_inference.errors import BadRequest, InvalidInput, TooLarge
from pixano_inference.protocol.body import UnsupportedMediaType

from .inputs import Fields
from .media import Location, MediaReader
from .signatures import Signature
from .tensor import Tensor
from .tensor_data import check_tensor, from_json, from_section

HEADER_LENGTH = "inference-header-content-length"
"""Names how many bytes of a body are JSON; binary sections follow."""

BINARY_TYPE = "application/octet-stream"

_MAX_PARAMETERS_BYTES = 64 * 1024
_MAX_ID_LENGTH = 1024
_NOTHING = msgspec.Raw(b"null")


class _Input(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    # read when shape and datatype have been found right
    data: msgspec.Raw = _NOTHING
    parameters: msgspec.Raw = _NOTHING


class _Output(msgspec.Struct):
    name: str
    parameters: msgspec.Raw = _NOTHING


class _Header(msgspec.Struct):
    inputs: list[_Input]
    id: str | None = None
    outputs: list[_Output] | None = None
    parameters: msgspec.Raw = _NOTHING


_decoder = msgspec.json.Decoder(_Header)


@dataclass(frozen=True)
class InferRequest:
    """A request whose tensors are what is declared of them.

    Attributes:
        id: What the caller calls it.
        parameters: As they were sent.
        tensors: The inputs.
        outputs: Name of each wanted output → whether it goes into a binary section.
    """

    id: str | None
    parameters: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    outputs: Mapping[str, bool]

    def fields(self, signature: Signature, reader: MediaReader) -> Fields:
        """Return the fields of the request of this capability.

        Raises:
            InvalidInput: Tensors are missing, or their content cannot be used.
            TooLarge: An image has too many pixels.
        """
        fields = signature.fields(self.tensors, frozenset(self.outputs), reader)
        fields |= {name: self.parameters[name] for name in signature.parameters if name in self.parameters}
        for field, names in signature.groups:
            if given := {name: self.parameters[name] for name in names if name in self.parameters}:
                fields[field] = given
        return fields


def json_length(request: Request) -> int | None:
    """Return how many bytes of the body are JSON, or null where all of it is.

    Raises:
        UnsupportedMediaType: The body is neither JSON nor JSON with binary sections.
        BadRequest: The length is no number.
    """
    declared = request.headers.get("content-type", "").split(";")[0].strip().lower()
    length = request.headers.get(HEADER_LENGTH)
    if declared == BINARY_TYPE and length is None:
        raise UnsupportedMediaType(
            f"{BINARY_TYPE} needs the header Inference-Header-Content-Length", code="content_type"
        )
    if declared not in ("", "application/json", BINARY_TYPE):
        raise UnsupportedMediaType(f"Content-Type must be application/json or {BINARY_TYPE}", code="content_type")
    if length is None:
        return None
    if not (length.isascii() and length.isdecimal() and len(length) < 20):
        raise BadRequest("Inference-Header-Content-Length must be a number of bytes", code="binary")
    return int(length)


def read_infer_request(
    body: bytes, json_bytes: int | None, signature: Signature, settings: ServerSettings
) -> InferRequest:
    """Read a request.

    Args:
        body: The whole body.
        json_bytes: How many bytes at its beginning are JSON; null: all.
        signature: The tensors of the model's capability.
        settings: The limits.

    Raises:
        BadRequest: The body is not JSON, or its binary sections do not add up.
        InvalidInput: It does not fit the protocol or the signature.
        TooLarge: A tensor or the parameters are over a limit.
    """
    if json_bytes is not None and json_bytes > len(body):
        raise BadRequest(
            f"Inference-Header-Content-Length is {json_bytes}, the body has {len(body)} bytes", code="binary"
        )
    view = memoryview(body)
    header = _header(view[:json_bytes])
    sections = _Sections(view[len(body) if json_bytes is None else json_bytes :])
    tensors: dict[str, Tensor] = {}
    for index, sent in enumerate(header.inputs):
        tensor = _tensor(sent, ("body", "inputs", index), signature, settings, sections)
        if tensor.spec.name in tensors:
            raise InvalidInput(f"input {tensor.spec.name!r} is there twice", location=("body", "inputs", index))
        tensors[tensor.spec.name] = tensor
    sections.end()
    parameters = _parameters(header.parameters, ("body", "parameters"))
    return InferRequest(header.id, parameters, tensors, _wanted(header.outputs or [], parameters, signature))


def _header(data: memoryview) -> _Header:
    try:
        header = _decoder.decode(data)
    except msgspec.ValidationError as error:
        # its words name a path and types, never a value
        raise InvalidInput(
            f"the request does not fit the protocol: {error}", code="schema", location=("body",)
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequest("the body is not valid JSON", code="json") from None
    if header.id is not None and len(header.id) > _MAX_ID_LENGTH:
        raise InvalidInput(f"id is longer than {_MAX_ID_LENGTH} characters", location=("body", "id"))
    return header


def _tensor(
    sent: _Input, location: Location, signature: Signature, settings: ServerSettings, sections: _Sections
) -> Tensor:
    spec = signature.input(sent.name)
    if spec is None:
        known = ", ".join(known.name for known in signature.inputs)
        raise InvalidInput(f"input {sent.name[:64]!r} is not known; known are {known}", location=(*location, "name"))
    check_tensor(spec, sent.datatype, sent.shape, settings)
    size = _parameters(sent.parameters, (*location, "parameters")).get("binary_data_size")
    data = bytes(sent.data)
    if (size is None) == (data == b"null"):
        raise InvalidInput("give data, or binary_data_size among the parameters", location=location)
    if size is None:
        return from_json(spec, sent.datatype, sent.shape, data)
    return from_section(spec, sent.datatype, sent.shape, sections.take(size, spec.name))


class _Sections:
    """The bytes behind the JSON, taken piece by piece."""

    def __init__(self, data: memoryview) -> None:
        self._data = data

    def take(self, size: Any, name: str) -> memoryview:
        if type(size) is not int or size < 0:
            raise InvalidInput("binary_data_size must be a number of bytes", location=("body", name, "parameters"))
        if size > len(self._data):
            raise BadRequest(
                f"binary_data_size of {name} is {size}, {len(self._data)} bytes of binary data are left", code="binary"
            )
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def end(self) -> None:
        if len(self._data):
            raise BadRequest(f"{len(self._data)} bytes of binary data belong to no input", code="binary")


def _parameters(raw: msgspec.Raw, location: Location) -> dict[str, Any]:
    text = bytes(raw)
    if len(text) > _MAX_PARAMETERS_BYTES:
        raise TooLarge(f"parameters take more than {_MAX_PARAMETERS_BYTES} bytes", location=location)
    try:
        return msgspec.json.decode(text, type=dict[str, Any] | None) or {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidInput("parameters must be an object", location=location) from None


def _wanted(sent: list[_Output], parameters: Mapping[str, Any], signature: Signature) -> dict[str, bool]:
    binary = _flag(parameters, "binary_data_output", False, ("body", "parameters"))
    wanted: dict[str, bool] = {}
    for index, output in enumerate(sent):
        location = ("body", "outputs", index)
        if output.name not in signature.output_names:
            raise InvalidInput(
                f"output {output.name[:64]!r} is not known; known are {', '.join(signature.output_names)}",
                location=location,
            )
        if output.name in wanted:
            raise InvalidInput(f"output {output.name!r} is there twice", location=location)
        wanted[output.name] = _flag(_parameters(output.parameters, location), "binary_data", binary, location)
    return wanted or dict.fromkeys(signature.default_outputs, binary)


def _flag(parameters: Mapping[str, Any], name: str, default: bool, location: Location) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidInput(f"{name} must be true or false", location=location)
    return value
