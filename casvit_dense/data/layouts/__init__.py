"""From a path to a description of the data that lie there, in files that training reads."""
