"""Group ``schedule``: the learning rate of each step."""
