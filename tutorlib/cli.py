"""The command ``tutorlib``. Each command imports what it needs when it runs, so help is quick."""

from __future__ import annotations

import json as json_format
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from tutorlib.errors import GradingError, TutorlibError
from tutorlib.syllabus import course_root, find_unit


class _Group(typer.core.TyperGroup):
    """Commands whose expected errors are one clear message and exit code 2, not a traceback."""

    def invoke(self, ctx):
        """Run the command."""
        try:
            return super().invoke(ctx)
        except TutorlibError as problem:
            typer.echo(f"tutorlib: {problem}", err=True)
            raise typer.Exit(2) from problem


app = typer.Typer(cls=_Group, no_args_is_help=True, add_completion=False,
                  pretty_exceptions_enable=False,
                  help="From Inverse RL to LLM Post-Training: tools of the course.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Units = Annotated[list[str] | None, typer.Argument(help='Units, such as "01"; all when none.')]


def _print_json(data) -> None:
    """Print data as JSON that a person can still read."""
    typer.echo(json_format.dumps(data, indent=2, ensure_ascii=False))


@app.command()
def doctor(
    json: Json = False,
    quick: Annotated[bool, typer.Option(help="Time nothing; print only what is amiss.")] = False,
) -> None:
    """Say whether this machine is ready, and how to mend what is not."""
    from tutorlib.doctor import OK, doctor

    diagnosis = doctor(quick)
    if json:
        _print_json(diagnosis.payload())
    elif quick:
        for finding in diagnosis.findings:
            if finding.state != OK:
                mend = f"\n  -> {finding.mend}" if finding.mend else ""
                typer.echo(f"{finding.name}: {finding.value}{mend}")
        typer.echo(diagnosis.verdict())
    else:
        typer.echo(str(diagnosis))
    raise typer.Exit(0 if diagnosis.ok else 1)


@app.command()
def lab(
    port: Annotated[int | None, typer.Option(help="Port; the next free one if taken.")] = None,
    browser: Annotated[
        str | None,
        typer.Option(help='Which browser to open; "none" prints the address. Default: $BROWSER.'),
    ] = None,
) -> None:
    """Open JupyterLab on the course."""
    from tutorlib.lab import start

    raise typer.Exit(start(port, browser or os.environ.get("BROWSER")))


@app.command()
def progress(json: Json = False) -> None:
    """Show which exercises you have passed (from a file on this machine)."""
    if json:
        from tutorlib.grading.store import table

        _print_json(table())
    else:
        from tutorlib.grading import progress

        typer.echo(str(progress()))


@app.command()
def exercises(json: Json = False) -> None:
    """List the exercises with their points, minutes and how well their graders are proven."""
    from tutorlib.grading.registry import all_exercises, summary

    rows = [summary(exercise) for exercise in all_exercises()]
    if json:
        _print_json(rows)
        return
    for row in rows:
        typer.echo(f"{row['unit']}  {row['id']:<50} {row['points']} points, {row['minutes']} min, "
                   f"difficulty {row['difficulty']}, {row['mutants']} mutants, "
                   f"{row['variants']} variants, {row['hints']} hints")


@app.command()
def build(
    units: Units = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail on drift.")] = False,
    json: Json = False,
) -> None:
    """Build notebooks/, exercises/ and solutions/ from course/, and the maps of the units."""
    from tutorlib import maps
    from tutorlib.authoring import build, build_payload, print_build

    root = course_root()
    report = build(root, check=check, units=units)
    stale = maps.update(root, check=check)
    if json:
        _print_json({**build_payload(report), "maps": list(stale)})
    else:
        print_build(report)
        for name in stale:
            typer.echo(f"stale: {name}; run `tutorlib build`" if check else f"wrote {name}")
    raise typer.Exit(0 if report.ok and not (check and stale) else 1)


@app.command()
def run(
    units: Units = None,
    product: Annotated[
        str, typer.Option(help="notebooks, exercises or solutions."),
    ] = "notebooks",
    workers: Annotated[int, typer.Option(help="Notebooks at a time.")] = 1,
    record: Annotated[
        bool, typer.Option("--record", help="Keep the seconds in course/measured.json."),
    ] = False,
    json: Json = False,
) -> None:
    """Execute built notebooks, each in its own kernel, and measure them against their budget."""
    from tutorlib.authoring import print_runs, run, run_payload

    results = run(course_root(), units=units, product=product, workers=workers, record=record)
    if json:
        _print_json(run_payload(results))
    else:
        print_runs(results)
    raise typer.Exit(0 if all(result.ok for result in results) else 1)


@app.command()
def grade(
    submissions: Annotated[Path | None, typer.Argument(
        help="Folder or zip of the learners' notebooks.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the grades.")] = None,
    seed_file: Annotated[Path | None, typer.Option(
        help="The cohort's secret; made if absent. Default: cohort.seed in --out.")] = None,
    unit: Annotated[list[str] | None, typer.Option(
        help="Grade only this unit; repeatable.")] = None,
    course: Annotated[Path | None, typer.Option(help="Course file: points, late work.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Notebooks at a time.")] = 1,
    time_limit: Annotated[float, typer.Option(
        min=1, help="Seconds for all exercises of one notebook.")] = 300,
    memory: Annotated[int, typer.Option(min=256, help="MB that a notebook may take.")] = 2048,
    trust_submissions: Annotated[bool, typer.Option(
        "--trust-submissions", help="Run them without a box, with your own rights.")] = False,
    scheduler: Annotated[str, typer.Option(
        help="Have a Dask cluster grade: its scheduler, tcp://host:port or tls://...")] = "",
    tls_ca_file: Annotated[str, typer.Option(help="PEM, with tls://. Default: Dask's.")] = "",
    tls_cert: Annotated[str, typer.Option(help="PEM, this side's certificate.")] = "",
    tls_key: Annotated[str, typer.Option(help="PEM, this side's key.")] = "",
    doctor: Annotated[bool, typer.Option(
        "--doctor", help="Attack a box of this machine, say what holds, grade nothing.")] = False,
) -> None:
    """Grade a cohort's notebooks: a record, a feedback page and a line in grades.csv for each."""
    if doctor:
        from tutorlib.grading.box.doctor import report

        text, good = report()
        typer.echo(text)
        raise typer.Exit(0 if good else 1)
    if submissions is None or out is None:
        raise GradingError("give the folder or zip of submissions, and --out for the grades")
    if sys.platform == "linux" and not (trust_submissions or scheduler):
        from tutorlib.grading.box.preload import usual_modules
        from tutorlib.grading.box.tiers import start_early

        start_early(preload=usual_modules(find_unit(name).slug for name in unit or ()))
    from tutorlib.grading.cohort.command import grade

    grade(submissions, out, seed_file=seed_file, units=tuple(unit or ()), course=course,
          workers=workers, seconds=time_limit, memory=memory, trust=trust_submissions,
          scheduler=scheduler, tls=(tls_ca_file, tls_cert, tls_key))


@app.command()
def export(
    platform: Annotated[str, typer.Argument(help="gradescope, canvas, moodle or csv.")],
    grades: Annotated[Path | None, typer.Argument(help="The --out folder of `grade`.")] = None,
    out: Annotated[Path, typer.Option(help="File to write (gradescope: folder).")] = ...,
    unit: Annotated[str, typer.Option(help="The unit; needed where several were graded.")] = "",
    gradebook: Annotated[Path | None, typer.Option(
        help="The platform's own export, to be filled in.")] = None,
    column: Annotated[str, typer.Option(help="Canvas: the assignment's column.")] = "",
    wide: Annotated[bool, typer.Option("--wide", help="csv: one line per learner.")] = False,
    autograder: Annotated[bool, typer.Option(
        "--autograder", help="gradescope: write the zip that grades a unit there.")] = False,
    seed_file: Annotated[Path | None, typer.Option(help="The autograder's secret.")] = None,
    course: Annotated[Path | None, typer.Option(help="The autograder's course file.")] = None,
    time_limit: Annotated[float, typer.Option(min=1, help="The autograder's, seconds.")] = 300,
    memory: Annotated[int, typer.Option(min=256, help="The autograder's, MB.")] = 2048,
    trust_submissions: Annotated[bool, typer.Option(
        "--trust-submissions", help="The autograder runs code without a box.")] = False,
) -> None:
    """Write grades as Gradescope, Canvas or Moodle take them, or make an autograder."""
    from tutorlib.grading.cohort.exports import command

    if autograder and platform == "gradescope":
        command.make_autograder(out, unit=unit, seed_file=seed_file, course=course,
                                seconds=time_limit, memory=memory, trust=trust_submissions)
    else:
        command.export(platform, grades, out, unit=unit, gradebook=gradebook, column=column,
                       wide=wide)


@app.command()
def release(
    out: Annotated[Path, typer.Option(help="New folder for what learners get.")],
    unit: Annotated[list[str], typer.Option(help="Unit to hand out; repeatable.")],
    course: Annotated[Path | None, typer.Option(
        help="Course file: due dates, points, hints, solutions.")] = None,
) -> None:
    """Hand out: worksheets and the pinned environment, without solutions."""
    from tutorlib.authoring.release import release
    from tutorlib.grading.cohort.course import read_course

    rules = read_course(course)
    for path in release(course_root(), unit, out, rules):
        typer.echo(f"wrote {path}")
    if not rules.package:
        typer.echo("The worksheets need the course's package, and no course file says how learners "
                   'install it (package = "git+https://..."): tell them, or release again.')


@app.command()
def collect(
    source: Annotated[Path, typer.Argument(help="Folder or zip of what was handed in.")],
    out: Annotated[Path, typer.Option(help="Folder for the collection, to be graded.")],
    course: Annotated[Path | None, typer.Option(help="Course file with the due dates.")] = None,
    unit: Annotated[list[str] | None, typer.Option(help="Only this unit; repeatable.")] = None,
    times: Annotated[Path | None, typer.Option(
        help="CSV with the columns learner, submitted and, if you like, unit.")] = None,
) -> None:
    """Gather what was handed in, one folder per learner, and mark what came late."""
    from tutorlib.grading.cohort.collect import collect, report
    from tutorlib.grading.cohort.course import read_course

    done = collect(source, out, read_course(course), tuple(unit or ()), times)
    for line in report(done, out):
        typer.echo(line)


if __name__ == "__main__":
    app()
