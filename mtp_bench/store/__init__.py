"""The truth on disk: job folders, states, locks and records."""
