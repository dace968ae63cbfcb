"""Cleaned copies of data sets."""
