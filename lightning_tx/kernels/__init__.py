"""Floor 0: the numbers: who may attend to whom, the kernels of attention, caches, and other fused operations.

Imports torch, and of core its errors only.
"""
