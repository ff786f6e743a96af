"""What the Redis store does where there is no Redis."""

from __future__ import annotations

from pathlib import Path

import pytest

from pixano_inference.configs.server_settings import ServerSettings
from pixano_inference.errors import ConfigError
from pixano_inference.gateway.jobs.service import make_store
from pixano_inference.gateway.jobs.store import StoreUnavailable

pytest.importorskip("redis", reason="the redis package is not installed (pip install redis)")


async def test_a_redis_that_does_not_answer_is_a_503_with_a_hint_when_to_retry(tmp_path: Path) -> None:
    store = make_store(ServerSettings(jobs_url=f"unix://{tmp_path}/nothing.sock"), tmp_path)
    with pytest.raises(StoreUnavailable, match="cannot be reached") as caught:
        await store.claim("me", ["sam2"])
    assert caught.value.status == 503
    assert caught.value.retry_after_s
    await store.close()


def test_a_url_that_is_none_of_redis_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="PIXANO_JOBS_URL"):
        make_store(ServerSettings(jobs_url="amqp://somewhere"), tmp_path)
