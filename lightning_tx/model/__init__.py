"""Floor 2, group ``model``: topologies assembled from components by name, and nothing that knows of training."""
