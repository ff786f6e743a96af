"""How fast, for what: ``python -m benchmarks`` measures a server against a plain FastAPI app on the same machine."""
