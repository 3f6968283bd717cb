"""What a job costs: rates and memory, measured in one way everywhere."""
