"""Which pretraining of a remote-sensing backbone is best, for which task, at what cost."""

__version__ = "0.1.0"
