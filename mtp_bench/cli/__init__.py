"""The command line: commands parse, call one function and print. Nothing heavy at import."""

import os
import sys

import typer

from mtp_bench.cli import data, jobs, listing, machine, predict, report, run, submission
from mtp_bench.errors import UserError

app = typer.Typer(
    help="Which pretraining of a remote-sensing backbone is best, for which task, at what cost?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: loading rich for its frames would double the time
    context_settings={"help_option_names": ["-h", "--help"]},
)
STEER = (jobs.status, jobs.logs, jobs.cancel, jobs.forget)
for command in (run.run, run.plan, *STEER, report.report, submission.submission, submission.score):
    app.command()(command)
app.command()(predict.predict)
app.command("list")(listing.list_names)
app.command()(machine.doctor)
app.add_typer(data.app, name="data")


def main() -> None:
    """Run a command; a ``UserError`` becomes one line for each problem, and exit code 2."""
    try:
        app()
    except UserError as error:
        for line in error.lines:
            print(line, file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
