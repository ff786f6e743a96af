"""Log lines of the server's processes: one format, with the process's name and the request's id."""

from __future__ import annotations

import logging
import sys

import orjson

from pixano_inference.configs.server_settings import server_settings
from pixano_inference.protocol.request_id import current_request_id


class _TextFormatter(logging.Formatter):
    def __init__(self, process: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)-7s [{process}] [%(request_id)s] %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        record.request_id = current_request_id()
        return super().format(record)


class _JSONFormatter(logging.Formatter):
    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname,
            "process": self._process,
            "logger": record.name,
            "request_id": current_request_id(),
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(entry).decode()


def configure_logging(process: str) -> None:
    """Send this package's log lines to stderr, in the format that the settings ask for."""
    handler = logging.StreamHandler(sys.stderr)
    json_lines = server_settings().log_format == "json"
    handler.setFormatter(_JSONFormatter(process) if json_lines else _TextFormatter(process))
    logger = logging.getLogger("pixano_inference")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
