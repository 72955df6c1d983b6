"""Floor 1: the parts of a Transformer, one component a file, one group a folder.

A component imports the core and its own group's ``base`` only. Shape letters are those of the whole project:
B batch, T queries, S keys, D d_model, H heads, G key/value heads, K head_dim, F d_ff, E experts, V vocabulary.
"""
