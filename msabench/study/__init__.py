"""A table with one command: its file, its plan, an engine that runs it, the driver. The store is all its state."""
