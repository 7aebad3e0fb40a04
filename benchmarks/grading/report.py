"""The tables and verdicts of README.md, made from results.json."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
ONE, EACH, TORCH_QUESTION, COHORT = 0.5, 0.25, 0.3, 300.0  # seconds asked for
QUESTIONS = 2


def text(results: dict) -> str:
    """Return all that stands between the marks of README.md."""
    return "\n".join([*_speed(results), "", *_tricks(results), "", *_cohort(results["cohort"]), "",
                      *(f"- {line}" for line in verdicts(results)), "", _where(results)])


def _speed(results: dict) -> list[str]:
    """Return the table of seconds."""
    lines = ["| seconds, on the wall / of processor | one submission | in a batch, each | batch of "
             "| load |", "|---|---:|---:|---:|---:|"]
    for row in results["rows"]:
        each = [row[f"batch_{kind}"] / row["count"] for kind in ("wall", "cpu")]
        lines.append(f"| {row['who']}, {row['form']} | {row['one_wall']:.1f} / "
                     f"{row['one_cpu']:.1f} | {each[0]:.2f} / {each[1]:.2f} | {row['count']} | "
                     f"{row['load']:.1f} |")
    return lines


def _tricks(results: dict) -> list[str]:
    """Return the table of what tricks earn."""
    who = list(results["tricks"])
    lines = ["| points earned of 2 | " + " | ".join(who) + " |", "|---|" + "---:|" * len(who)]
    for name in results["tricks"][who[0]]:
        cells = ["never ends" if points is None else f"{points:g}"
                 for points in (results["tricks"][w][name] for w in who)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _cohort(found: dict) -> list[str]:
    """Return the table of the large cohort."""
    first, last = found["thirds"]
    kinds = ", ".join(f"{count} {kind}" for kind, count in found["kinds"].items())
    counts = ", ".join(f"{count} {what}" for what, count in found["outcomes"].items())
    return [f"{found['count']} notebooks of unit {found['unit']} ({kinds}):", "",
            "| | notebooks | on the wall s | of processor s | a minute |",
            "|---|---:|---:|---:|---:|",
            *(f"| {name} | {cost['count']} | {cost[f'{key}_wall']:.0f} | "
              f"{_whole(cost.get(f'{key}_cpu'))} | {60 * cost['count'] / cost[f'{key}_wall']:.0f} |"
              for name, key, cost in (("two workers", "here", found),
                                      ("a Dask cluster of two", "dask", found["dask"]))), "",
            f"Their exercises: {counts}. Memory of all processes: {first:.0f} MiB in the first "
            f"third, {last:.0f} MiB in the last. Load at the end: {found['load']:.1f}."]


def _whole(number: float | None) -> str:
    """Return a number without its decimals, or a dash."""
    return "-" if number is None else f"{number:.0f}"


def verdicts(results: dict) -> list[str]:
    """Return one sentence per target."""
    by_form = {row["form"]: row for row in results["rows"] if row["who"] == "tutorlib"}
    numpy, found = by_form["numpy"], results["cohort"]
    each = {form: row["batch_wall"] / row["count"] for form, row in by_form.items()}
    first, last = found["thirds"]
    most = max(sum(points == QUESTIONS for points in t.values()) for t in [
        results["tricks"]["tutorlib"]])
    return [
        _said("One submission by the command", numpy["one_wall"], ONE)
        + f" ({numpy['one_cpu']:.2f} s of processor); one about tensors "
        f"{by_form['torch']['one_wall']:.2f} s, for which torch is loaded, and `import torch` "
        f"alone takes {results['importing']['torch_wall']:.2f} s",
        _said("One more submission where the grader runs already", numpy["warm_wall"], ONE),
        _said("Each of a batch", each["numpy"], EACH),
        _said("A torch question in a batch", each["torch"] / QUESTIONS, TORCH_QUESTION),
        _said(f"{found['count']} notebooks", found["here_wall"], COHORT * found["count"] / 1000)
        + f" ({found['here_cpu'] / 2:.0f} s of processor on each of two cores)",
        f"Memory from the first to the last third: {100 * (last / first - 1):+.1f} %",
        "The results of the Dask cluster are the same to the byte: "
        + ("yes" if not found["different"] else f"NO, {len(found['different'])} files differ"),
        f"Tricks with full marks: {most} here"
        + "".join(f", {sum(p == QUESTIONS for p in t.values())} with {who}"
                  for who, t in results["tricks"].items() if who != "tutorlib"),
    ]


def _said(what: str, seconds: float, asked: float) -> str:
    """Return what was measured, asked for, and whether it is met."""
    word = "met" if seconds <= asked else "MISSED"
    return f"{what}: {seconds:.2f} s, {asked:g} asked: {word}"


def _where(results: dict) -> str:
    """Return where it was measured."""
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return (f"{results['processor']}, {results['cores']} cores, Python {results['python']}, "
            f"{versions}.")


def write_table(results: dict) -> None:
    """Print the tables and put them between the marks in README.md."""
    made = text(results)
    print(made)
    page = HERE / "README.md"
    before, rest = page.read_text(encoding="utf-8").split("<!-- BEGIN TABLE -->")
    after = rest.split("<!-- END TABLE -->")[1]
    page.write_text(f"{before}<!-- BEGIN TABLE -->\n{made}\n<!-- END TABLE -->{after}",
                    encoding="utf-8")
