"""Floor 2: what turns a body's states into what a task predicts; the task chooses which."""
