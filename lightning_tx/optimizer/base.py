"""The interface of the group ``optimizer``: that of PyTorch, over the trainable parameters of a model."""

from torch.optim import Optimizer

from lightning_tx.core.group import Group

OPTIMIZER = Group("optimizer", Optimizer, __package__, gives=("model",))
