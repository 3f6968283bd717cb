"""The answer: leaderboards from what stands in results/, and from nothing else."""
