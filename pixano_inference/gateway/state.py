"""What the gateway's routes work with."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field

from pixano_inference.configs.server_settings import ServerSettings
from pixano_inference.errors import BadRequest, NotFound
from pixano_inference.media.resolve import MediaResolver
from pixano_inference.model_sets import ModelSet
from pixano_inference.schemas import Capability

from .auth import ApiKeys
from .jobs.service import JobService
from .leaving import Leaving
from .runner_pool import RunnerPool
from .seen_images import SeenImages


@dataclass
class GatewayState:
    """Models, connections and settings of one gateway process."""

    model_set: ModelSet
    settings: ServerSettings
    pools: dict[str, RunnerPool] = field(default_factory=dict)
    keys: ApiKeys = field(init=False)
    media: MediaResolver = field(init=False)
    seen: SeenImages = field(init=False)
    jobs: JobService = field(init=False)
    leaving: Leaving = field(default_factory=Leaving)

    def __post_init__(self) -> None:
        """Make what the settings ask for."""
        self.keys = ApiKeys.from_settings(self.settings)
        self.seen = SeenImages(int(self.settings.seen_images_mb * 1024 * 1024))

    async def start(self) -> None:
        """Open what needs a running event loop."""
        self.media = MediaResolver(self.settings)
        addresses = runner_addresses(self.model_set)
        for model in self.model_set.models:
            pool = RunnerPool(
                model, addresses[model.name], self.settings.runner_secret, wake_hold_s=self.settings.wake_hold_s
            )
            self.pools[model.name] = pool
            await pool.start()
        tracking = {name: pool for name, pool in self.pools.items() if pool.model.capability == Capability.TRACKING}
        self.jobs = JobService(self.settings, tracking)
        await self.jobs.start()

    async def close(self) -> None:
        """Close all connections; jobs in work go back into their queue."""
        await self.jobs.close()
        for pool in self.pools.values():
            await pool.close()
        await self.media.aclose()

    def named_pool(self, name: str) -> RunnerPool:
        """Return the pool of a model, whatever it does.

        Raises:
            NotFound: No such model.
        """
        pool = self.pools.get(name)
        if pool is None:
            raise NotFound(f"Model '{name[:128]}' not found")
        return pool

    def pool(self, name: str, capability: Capability) -> RunnerPool:
        """Return the pool of a model that does what the endpoint asks for.

        Raises:
            NotFound: No such model.
            BadRequest: It does something else.
        """
        pool = self.named_pool(name)
        if pool.model.capability != capability:
            raise BadRequest(f"model {name!r} does {pool.model.capability}, not {capability}")
        return pool


def runner_addresses(model_set: ModelSet) -> dict[str, list[str]]:
    """Return the addresses of each model's runners.

    ``PIXANO_RUNNERS`` names them where runners are deployed apart: ``model=http://host:port`` separated by commas, a
    model as often as it has addresses. Otherwise Bento started them beside this process and says where they listen.
    """
    addresses: dict[str, list[str]] = {model.name: [] for model in model_set.models}
    apart = os.environ.get("PIXANO_RUNNERS")
    if apart:
        for pair in apart.split(","):
            name, _, address = pair.strip().partition("=")
            addresses.setdefault(name, []).append(address)
        return addresses
    beside: dict[str, str] = json.loads(os.environ.get("BENTOML_RUNNER_MAP", "{}"))
    for model in model_set.models:
        for replica in range(model.local_replicas):
            service = model.replica_service_name(replica)
            if service in beside:
                addresses[model.name].append(beside[service].replace("tcp://", "http://"))
    return addresses
