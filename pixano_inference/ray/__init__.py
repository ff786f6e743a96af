"""Where model code written for the Ray-based Pixano Inference finds the type of its configuration. Ray is not used."""
