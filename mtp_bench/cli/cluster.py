"""``run --executor slurm``: print the batch scripts, submit, and watch or return."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

from mtp_bench.cli.options import site_path

if TYPE_CHECKING:
    from mtp_bench.cli.progress import View
    from mtp_bench.executors.dispatch import Cluster
    from mtp_bench.executors.outcome import Summary
    from mtp_bench.suite.plan import Plan
    from mtp_bench.suite.schema import Roots


def run_on_slurm(
    planned: Plan,
    roots: Roots,
    site_name: str | None,
    share: tuple[int | None, int | None],
    *,
    detach: bool,
    dry_run: bool,
    retry: bool,
) -> Summary | None:
    """Submit what is not done; None where nothing is to be watched.

    ``share``: a job's processes, and the images that each of them takes at once.
    """
    from mtp_bench.cli.progress import View
    from mtp_bench.errors import UserError
    from mtp_bench.executors.dispatch import Cluster, scripts
    from mtp_bench.executors.prepare import check_resources, prepare_data, site_resources
    from mtp_bench.suite.site import load_site

    if "%" in roots.runs:
        raise UserError(f"--runs {roots.runs}: SLURM reads a % in a path as its own: rename it")
    site = load_site(site_path(site_name))
    resources = site_resources(site, *share)
    told = check_resources(planned, resources)
    with View(planned) as view:
        for line in told:
            view.say(line)
        run = Cluster(planned, roots, site, resources, tuple(sys.argv), view.say, retry=retry)
        if dry_run:
            print("\n".join(scripts(run)))
            return None
        prepare_data(planned, roots, view.preparing)
        return _submit(run, view, detach=detach)


def _submit(run: Cluster, view: View, *, detach: bool) -> Summary:
    from mtp_bench.errors import UserError
    from mtp_bench.executors.cluster import act, look, summary, watch

    look(run)
    if any(state == "pending" for state in run.states().values()) and not shutil.which("sbatch"):
        raise UserError("sbatch: not found: run this where jobs are submitted to SLURM")
    sent = act(run, wait=True)
    run.retry = False
    if sent:
        given = (run.standings[job].submission for job in sent)
        numbers = {found.slurm_id for found in given if found and found.slurm_id}
        view.say(f"submitted {len(sent)} jobs (SLURM: {', '.join(sorted(numbers))})")
    if not detach:
        return watch(run, view.show)
    left = [job for job, state in run.states().items() if state == "pending"]
    if left:
        print(f"{len(left)} jobs wait for others or for SLURM: run again", file=sys.stderr)
    return summary(run, stopped=bool(left))
