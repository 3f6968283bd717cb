"""`make setup`: brings .venv to what this clone needs; what is done already is skipped.

    PIP_ARGS="--index-url …" python3 tools/setup.py

This file keeps to syntax that old Pythons read, so that they can say that they are too old.
"""

import sys

OLDEST, NEWEST = (3, 11), (3, 13)


def gate():
    # type: () -> int
    """Exit status of the set-up; 2 where this Python cannot run it."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        sys.stderr.write(
            "python %d.%d does not fit: Python 3.11 to 3.13 is needed; where another one is "
            "installed, name it: make PYTHON=python3.12\n" % sys.version_info[:2]
        )
        return 2
    from steps import main

    return main()


if __name__ == "__main__":
    sys.exit(gate())
