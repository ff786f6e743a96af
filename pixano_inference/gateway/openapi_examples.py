"""One working request per endpoint, for the OpenAPI document; a test sends each of them."""

from __future__ import annotations

from typing import Any

from pixano_inference.schemas import DetectionRequest, SegmentationRequest, TrackingRequest, VLMRequest

# a red disk on grey, 16 × 16 pixels
_IMAGE = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQAQMAAAAlPW0iAAAABlBMVEXr6+vIHh42bKc9AAAAKElEQVR42mNgQAKMBxjYPzAx"
    "MDBxcDAxMDAxMDD9+MHEwMD06wJcCQBtVwWR3pn+3wAAAABJRU5ErkJggg=="
)

EXAMPLES: dict[str, dict[str, Any]] = {
    SegmentationRequest.__name__: {
        "one click": {"model": "sam2-image", "image": _IMAGE, "points": [[[8, 8]]], "labels": [[1]]},
        "a box, one mask": {
            "model": "sam2-image",
            "image": _IMAGE,
            "boxes": [[4, 4, 13, 13]],
            "multimask_output": False,
        },
    },
    DetectionRequest.__name__: {
        "two classes": {
            "model": "grounding-dino",
            "image": _IMAGE,
            "classes": ["red circle", "blue square"],
            "box_threshold": 0.3,
            "text_threshold": 0.3,
        },
    },
    TrackingRequest.__name__: {
        "one click on the first frame": {
            "model": "sam2-video",
            "video": [_IMAGE, _IMAGE],
            "objects_ids": [1],
            "frame_indexes": [0],
            "points": [[[8, 8]]],
            "labels": [[1]],
        },
        "a box as keyframe, three frames": {
            "model": "sam2-video",
            "video": [_IMAGE, _IMAGE, _IMAGE],
            "objects_ids": [1],
            "frame_indexes": [1],
            "keyframes": [{"frame_index": 1, "box": {"x": 4, "y": 4, "width": 9, "height": 9}}],
            "interval": {"start_frame": 0, "end_frame": 2},
        },
    },
    VLMRequest.__name__: {
        "a question": {
            "model": "vlm",
            "prompt": "What colour is the circle?",
            "images": [_IMAGE],
            "max_new_tokens": 16,
            "temperature": 0.0,
        },
        "a conversation": {
            "model": "vlm",
            "prompt": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": _IMAGE}},
                        {"type": "text", "text": "What colour is the circle?"},
                    ],
                }
            ],
            "max_new_tokens": 16,
            "temperature": 0.0,
        },
    },
}
"""Name of the request schema → title of the example → body."""
