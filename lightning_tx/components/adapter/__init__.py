"""Group ``adapter``: what is trained on a frozen base."""
