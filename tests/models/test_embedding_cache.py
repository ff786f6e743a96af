from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from pixano_inference.models.embedding_cache import EmbeddingCache, default_limit_bytes, free_memory_bytes


def test_what_was_used_longest_ago_is_forgotten_first() -> None:
    cache: EmbeddingCache[str] = EmbeddingCache(limit_bytes=30)
    for key in "abc":
        cache.put(key, key.upper(), 10)
    assert cache.get("a") == "A"
    cache.put("d", "D", 10)
    assert cache.get("b") is None
    assert [cache.get(key) for key in "acd"] == ["A", "C", "D"]
    assert cache.statistics.evictions == 1


def test_the_bound_is_in_bytes_and_holds() -> None:
    cache: EmbeddingCache[int] = EmbeddingCache(limit_bytes=100)
    for key in range(50):
        cache.put(str(key), key, 7 * (1 + key % 5))
        assert cache.statistics.used_bytes <= 100
    cache.put("49", 1, 90)
    assert cache.statistics.entries == 1
    assert cache.statistics.used_bytes == 90


def test_an_entry_larger_than_the_cache_is_not_kept_and_evicts_nothing() -> None:
    cache: EmbeddingCache[int] = EmbeddingCache(limit_bytes=10)
    cache.put("small", 1, 10)
    cache.put("large", 2, 11)
    assert cache.get("large") is None
    assert cache.get("small") == 1
    assert cache.statistics.evictions == 0


def test_hits_and_misses_are_counted() -> None:
    cache: EmbeddingCache[int] = EmbeddingCache(limit_bytes=10)
    cache.missed()
    cache.put("a", 1, 1)
    cache.get("a")
    cache.get("unknown")
    statistics = cache.statistics
    assert (statistics.hits, statistics.misses, statistics.entries) == (1, 1, 1)


def test_threads_leave_the_sizes_right() -> None:
    cache: EmbeddingCache[int] = EmbeddingCache(limit_bytes=64)

    def work(seed: int) -> None:
        for step in range(200):
            key = str((seed * 31 + step * 17) % 40)
            if cache.get(key) is None:
                cache.put(key, step, 1 + step % 9)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    statistics = cache.statistics
    assert 0 < statistics.used_bytes <= 64
    cache.clear()
    assert (cache.statistics.entries, cache.statistics.used_bytes) == (0, 0)


def test_the_default_bound_is_a_share_of_free_memory() -> None:
    assert default_limit_bytes(4 * 2**30) == 2**30
    assert default_limit_bytes(2**40) == 4 * 2**30
    assert free_memory_bytes() > 0
