"""What the examples share: the address of the server, and which of its models to ask."""

from __future__ import annotations

import argparse
import os

from pixano_inference.schemas import Settings


def arguments(text: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that every example has."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:7463", help="the server")
    parser.add_argument("--model", help="name of a deployed model; by default the first that can do it")
    parser.add_argument("--api-key", default=os.environ.get("PIXANO_API_KEY"), help="default: $PIXANO_API_KEY")
    return parser


def model_for(client: Settings, capability: str) -> str:
    """Return the first model of a capability; a client carries the server's settings."""
    for name in client.models:
        if client.models_to_capability[name] == capability:
            return name
    raise SystemExit(f"the server has no model for {capability}: {client.models_to_capability}")
