"""Serving one model: batching, cancellation, and the server side of the binary protocol."""
