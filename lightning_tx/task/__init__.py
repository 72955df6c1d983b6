"""Floor 3, group ``task``: what a model is trained for, and how it is judged."""
