"""A config from its file to what runs: read, checked, with a run's options, kept and compared."""
