"""Dataset cards: one file a dataset, data only."""
