"""One HTML page of a data set."""
