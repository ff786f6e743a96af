"""The HTTP contract: routes, errors, limits, and the client side of the binary protocol."""
