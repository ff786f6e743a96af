"""What is said about the server and its models, and the shapes of requests and answers for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from pixano_inference.schemas import Capability

from .answer import VERSION
from .signatures import SIGNATURES
from .tensor import TensorSpec

SERVER_NAME = "pixano-inference"
EXTENSIONS = ["binary_tensor_data"]

Parameters = dict[str, Any]


class _Body(BaseModel):
    model_config = ConfigDict(protected_namespaces=())


class ServerInfo(_Body):
    """What this server is."""

    name: str
    version: str
    extensions: list[str]


class ServerLive(_Body):
    """Whether the process answers."""

    live: bool


class ServerReady(_Body):
    """Whether every model answers."""

    ready: bool


class OipModelReady(_Body):
    """Whether a model answers, and why not."""

    name: str
    ready: bool
    reason: str | None = None


class MetadataTensor(_Body):
    """A tensor: -1 in its shape is a size that varies. Parameters hold ``description`` and ``on_request``."""

    name: str
    datatype: str
    shape: list[int]
    parameters: Parameters


class ModelMetadata(_Body):
    """The tensors of a model."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[MetadataTensor]
    outputs: list[MetadataTensor]


class InferInputTensor(_Body):
    """A tensor of a request: ``data``, or ``binary_data_size`` among its parameters."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters | None = None
    data: list[Any] | None = None


class InferWantedOutput(_Body):
    """An output that is wanted; ``binary_data`` among its parameters asks for bytes."""

    name: str
    parameters: Parameters | None = None


class InferBody(_Body):
    """A request."""

    id: str | None = None
    parameters: Parameters | None = None
    inputs: list[InferInputTensor]
    outputs: list[InferWantedOutput] | None = None


class InferOutputTensor(_Body):
    """A tensor of an answer."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters | None = None
    data: list[Any] | None = None


class InferAnswer(_Body):
    """An answer."""

    model_name: str
    model_version: str
    id: str
    outputs: list[InferOutputTensor]


def server_metadata(version: str) -> dict[str, Any]:
    """Return what ``GET /v2`` answers."""
    return {"name": SERVER_NAME, "version": version, "extensions": EXTENSIONS}


def model_metadata(name: str, capability: Capability) -> dict[str, Any]:
    """Return what ``GET /v2/models/{name}`` answers."""
    signature = SIGNATURES[capability]
    return {
        "name": name,
        "versions": [VERSION],
        "platform": f"pixano_{capability}",
        "inputs": [_tensor(spec) for spec in signature.inputs],
        "outputs": [_tensor(spec) for spec, _ in signature.outputs],
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    told = {"description": spec.description, **({"on_request": True} if spec.on_request else {})}
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape), "parameters": told}
