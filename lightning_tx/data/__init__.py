"""Floor 3: the texts that are trained on, and the way from a text to a batch of tensors."""
