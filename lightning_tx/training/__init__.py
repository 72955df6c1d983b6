"""Floor 3: optimisation with PyTorch Lightning."""
