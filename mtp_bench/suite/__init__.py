"""The question: suites, protocols and the plan of jobs that follows from them."""
