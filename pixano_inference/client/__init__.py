"""The Python client. It needs the light install alone: no server, no torch.

::

    from pixano_inference.client import PixanoInferenceClient, segmentation_request

    async with PixanoInferenceClient.connect("http://127.0.0.1:7463") as client:
        response = await client.segmentation(segmentation_request("sam2-image", "cat.jpg", points=[[320, 240]]))
        mask = response.data.masks[0][0].to_mask()
"""

from .builders import detection_request, segmentation_request, tracking_request, vlm_request
from .client import PixanoInferenceClient
from .errors import RequestFailed
from .media import image_to_data_uri
from .streams import AsyncStream, Stream, StreamEnd
from .sync_client import SyncPixanoInferenceClient
from .visualize import draw_boxes, draw_masks, draw_points, draw_tracks

__all__ = [
    "AsyncStream",
    "PixanoInferenceClient",
    "RequestFailed",
    "Stream",
    "StreamEnd",
    "SyncPixanoInferenceClient",
    "detection_request",
    "draw_boxes",
    "draw_masks",
    "draw_points",
    "draw_tracks",
    "image_to_data_uri",
    "segmentation_request",
    "tracking_request",
    "vlm_request",
]
