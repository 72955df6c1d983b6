"""Group ``optimizer``: how parameters move along their gradients."""
