"""Train states, the data-parallel step, checkpoints and the loop: import the module you need."""
