"""How a model is deployed: its resources and its scaling."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class DeploymentConfig(BaseModel):
    """Resources and scaling of one model's runner.

    docs/operators/deployment-config.md tells what each field becomes locally and on Kubernetes.

    Attributes:
        num_gpus: GPUs per replica; a fraction is for several models sharing one GPU on one machine.
        num_cpus: CPU cores per replica; also the number of torch threads of a local runner.
        memory_mb: Memory per replica in MiB.
        min_replicas: Fewest replicas; 0 lets the model scale to zero on Kubernetes. Locally one runner process is
            started for each, at least one.
        max_replicas: Most replicas.
        target_num_ongoing_requests_per_replica: Requests in flight per replica that the scaler aims at.
        upscale_delay_s: Seconds of load before replicas are added.
        downscale_delay_s: Seconds of calm before replicas are removed.
        max_batch_size: Most requests that go through the model together.
        batch_wait_timeout_s: Seconds that a request may wait for others to join its batch while the model is idle
            and other requests are on their way.
        timeout_s: Seconds after which a request is answered with 504 and its work is stopped.
        max_queue_size: Most requests waiting for this model; one more is answered with 429. A caller (API key) that has
            less than an equal share of the queue waiting is admitted to a full one, up to twice this number in all.
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    num_gpus: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    num_cpus: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    memory_mb: Annotated[int, Field(gt=0)] | None = None
    min_replicas: Annotated[int, Field(ge=0)] = 1
    max_replicas: Annotated[int, Field(ge=1)] = 1
    target_num_ongoing_requests_per_replica: Annotated[int, Field(ge=1)] = 4
    upscale_delay_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 10.0
    downscale_delay_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 300.0
    max_batch_size: Annotated[int, Field(ge=1)] = 8
    batch_wait_timeout_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.005
    timeout_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 300.0
    max_queue_size: Annotated[int, Field(ge=1)] = 256

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.max_replicas < self.min_replicas:
            raise ValueError(f"max_replicas {self.max_replicas} is less than min_replicas {self.min_replicas}")
        return self
