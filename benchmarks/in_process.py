"""The built-in tracking model without a server, as what the server is held against."""

from __future__ import annotations

import base64
import json
import os
import sys
import time
from pathlib import Path

import orjson
import torch

from pixano_inference.configs import ModelConfig, Sam2VideoParams
from pixano_inference.models.sam2.video_model import Sam2VideoModel
from pixano_inference.schemas import ImageBytes, TrackingInput


def main(params: str, *files: str) -> None:
    """Print the seconds that the model takes for the last of the requests in ``files``."""
    torch.set_num_threads(os.cpu_count() or 1)
    config = ModelConfig(
        name="sam2-video", model_class="Sam2VideoModel", model_params=Sam2VideoParams(**json.loads(params))
    )
    model = Sam2VideoModel(config)
    model.load_model()
    seconds = 0.0
    for file in files:
        fields = orjson.loads(Path(file).read_bytes())
        began = time.perf_counter()
        fields["video"] = [ImageBytes(base64.b64decode(uri.partition(",")[2])) for uri in fields["video"]]
        model.predict(TrackingInput.model_validate(fields))
        seconds = time.perf_counter() - began
    print(seconds)


if __name__ == "__main__":
    main(*sys.argv[1:])
