"""`python -m mtp_bench`: the command line."""

from mtp_bench.cli import main

main()
