"""From a model set to BentoML services: the gateway, and a runner per model."""
