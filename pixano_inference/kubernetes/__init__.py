"""Kubernetes manifests from a model set: rendering, checking, applying.

::

    options.py      what the caller of ``k8s render`` may choose
    naming.py       names, labels, ports and paths that several manifests must agree on
    pods.py         what gateway and runner pods have in common: security, environment, volumes
    gateway.py      the gateway's objects            runners.py    one runner's objects
    scaling.py      HPA and KEDA                     network.py    NetworkPolicies
    weights.py      where checkpoints come from      kserve.py, monitoring.py, routes.py, accelerators.py   components
    component.py    a kustomize component and what it does to the base
    render.py       model set -> files
    validation/     schemas and rules that every rendered manifest passes
    cluster.py      apply, status, scale, delete     cli.py        the command line
"""
