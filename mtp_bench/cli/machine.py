"""``doctor``: what this machine has and lacks."""

import json
from dataclasses import asdict

import typer

from mtp_bench.cli.options import Data, Json


def doctor(as_json: Json = False, data: Data = None) -> None:
    """Check this machine and the installation. Exit 1, with the fix, where something is broken."""
    from mtp_bench.doctor import examine

    checks = examine(data)
    if as_json:
        print(json.dumps({"checks": [asdict(check) for check in checks]}, indent=1))
    else:
        for check in checks:
            mark = {True: "ok", False: "BROKEN", None: "-"}[check.ok]
            print(f"{mark:7} {check.name}: {check.detail}")
            if check.fix and check.ok is not True:
                print(f"        → {check.fix}")
    if any(check.ok is False for check in checks):
        raise typer.Exit(1)
