"""Vision-language models: transformers' own families, and vLLM."""
