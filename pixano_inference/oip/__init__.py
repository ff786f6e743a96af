"""The Open Inference Protocol, version 2: the same models as tensors, for KServe and its clients."""
