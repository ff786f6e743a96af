"""Holds the schemas of KServe's objects against KServe's own models; run by ``test_kserve_client.py``.

    python kserve_fields.py CRD_SCHEMAS

Prints, as a JSON object, the fields of each schema that KServe's model lacks.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import kserve
import yaml

# where each schema is inside of which kind's, and the model that describes it
PLACES = {
    "V1beta1PredictorSpec": ("InferenceService", "predictor"),
    "V1beta1ModelSpec": ("InferenceService", "predictor", "model"),
    "V1beta1ModelFormat": ("InferenceService", "predictor", "model", "modelFormat"),
    "V1beta1AutoScalingSpec": ("InferenceService", "predictor", "autoScaling"),
    "V1beta1MetricsSpec": ("InferenceService", "predictor", "autoScaling", "metrics"),
    "V1beta1ExternalMetricSource": ("InferenceService", "predictor", "autoScaling", "metrics", "external"),
    "V1beta1ExternalMetrics": ("InferenceService", "predictor", "autoScaling", "metrics", "external", "metric"),
    "V1beta1MetricTarget": ("InferenceService", "predictor", "autoScaling", "metrics", "external", "target"),
    "V1alpha1ServingRuntimeSpec": ("ClusterServingRuntime",),
    "V1alpha1SupportedModelFormat": ("ClusterServingRuntime", "supportedModelFormats"),
}


def unknown_fields(schemas: dict[str, Any]) -> dict[str, list[str]]:
    """Return model -> the schema's fields that it lacks."""
    found = {}
    for model, (kind, *path) in PLACES.items():
        schema = schemas[kind]
        for name in path:
            schema = schema["properties"][name]
            schema = schema.get("items", schema)
        known = set(getattr(kserve, model).attribute_map.values())
        found[model] = sorted(set(schema["properties"]) - known)
    return found


if __name__ == "__main__":
    documents = yaml.safe_load_all(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(json.dumps(unknown_fields({document["kind"]: document["spec"] for document in documents})))
