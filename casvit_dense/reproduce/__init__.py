"""Trains and evaluates every model of a plan, and continues after any interruption."""
