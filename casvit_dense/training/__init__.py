"""Mechanisms that make a training exact, guarded and interruptible."""
