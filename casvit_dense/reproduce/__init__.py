"""The whole plan: train and evaluate every recipe, whatever interrupts it."""
