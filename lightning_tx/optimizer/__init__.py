"""Floor 3, group ``optimizer``: how parameters move along their gradients."""
