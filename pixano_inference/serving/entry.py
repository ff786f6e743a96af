"""What the supervisor's processes import: the service of their role."""

from pixano_inference.serving.services import make_service

service = make_service()
