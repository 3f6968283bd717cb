"""Where weights come from: one module a stage, and the start of every job."""
