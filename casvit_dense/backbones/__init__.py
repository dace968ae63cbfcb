"""Backbones by name: those of other libraries, and one's own."""
