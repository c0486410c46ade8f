"""Run an experiment matrix: what is missing is measured, what was measured is kept.

Two runs at once may share a matrix, but not a cell with the same seed: both would train it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioning.bench.measure import check_place, delete_model, is_made, measure, seconds_of
from captioning.bench.trials import (
    Trial,
    Trials,
    check_trial,
    missing_searches,
    read_result,
    result_path,
    what_changed,
    what_holds,
)
from captioning.training.update import TrainingError

Records = dict[tuple[str, int], dict[str, Any]]


@dataclass(frozen=True)
class Options:
    """How a matrix is run.

    Args:
        overwrite (bool): measure again what has other settings now; start interrupted runs anew.
        progress (bool): training bars on stderr.
        say (Callable): takes a line about each trial.
    """

    overwrite: bool = False
    progress: bool = False
    say: Callable[[str], None] = lambda line: None


def choose(trials: Trials, only: Collection[str], seeds: Collection[int]) -> list[Trial]:
    """Those of some cells and seeds, and what they need, in the order of the file.

    Args:
        trials (Trials): see `list_trials`.
        only (Collection[str]): cells; empty for all.
        seeds (Collection[int]): seeds.
    """
    wanted: set[tuple[str, int]] = set()

    def want(trial: Trial) -> None:
        wanted.add((trial.cell, trial.seed))
        for source in trial.sources.values():
            want(source)

    for (cell, seed), trial in trials.items():
        if seed in seeds and (not only or cell in only):
            want(trial)
    return [trial for key, trial in trials.items() if key in wanted]


def find_work(
    chosen: list[Trial], output: Path, overwrite: bool
) -> list[tuple[Trial, dict[str, Any] | None]]:
    """The trials that miss something, each with what was measured of it.

    Raises:
        FileExistsError: something was measured with other settings, or another model lies where
            one is to be trained, and it is not to be replaced.
        ValueError: a file is no result, or settings contradict each other.
    """
    work = []
    for trial in chosen:
        path = result_path(trial, output)
        if overwrite:
            kept = what_holds(_read_if_whole(path), trial)
        else:
            kept = read_result(path)
            if kept and (change := what_changed(kept, trial)):
                raise FileExistsError(
                    f"{path}: {change}; --overwrite measures it again, another --output keeps both"
                )
        if missing_searches(kept, trial):
            check_trial(trial)
            if not (overwrite or is_made(trial)):
                check_place(trial)
            work.append((trial, kept))
    return work


def _read_if_whole(path: Path) -> dict[str, Any] | None:
    """A result that may be replaced: a damaged one counts as none."""
    try:
        return read_result(path)
    except ValueError:
        return None


def run_trials(
    work: list[tuple[Trial, dict[str, Any] | None]], output: Path, options: Options
) -> list[str]:
    """Measure trials one after the other; one that fails does not stop the others.

    Args:
        work (list): see `find_work`.
        output (Path): folder of the results.
        options (Options): see there.

    Returns:
        list[str]: a sentence on each trial that failed.

    Raises:
        OSError: the disk, say; what is measured is kept.
        ValueError: a score of the table is not among what is measured.
        KeyboardInterrupt: after Ctrl-C; the same command goes on.
    """
    failed: dict[str, str] = {}
    for number, (trial, kept) in enumerate(work):
        sources = trial.sources.items()
        if missing := next((f"{how} {s.cell}" for how, s in sources if s.title in failed), ""):
            failed[trial.title] = f"{trial.title}: left out, it {missing}"
            options.say(failed[trial.title])
            continue
        try:
            record = measure(trial, kept, output, options.overwrite, options.progress)
        except (ValueError, FileNotFoundError, FileExistsError, TrainingError) as error:
            failed[trial.title] = f"{trial.title}: {error}"
            options.say(failed[trial.title])
            continue
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt(
                f"stopped in {trial.title}; {number - len(failed)} of {len(work)} are measured, "
                "the same command goes on"
            ) from stop
        options.say(_told(trial, record, f"{number + 1} of {len(work)}"))
        check_scores(trial, record)
    return [*failed.values()]


def _told(trial: Trial, record: dict[str, Any], place: str) -> str:
    """A line on a trial that was measured, with a warning if it took long."""
    seconds, limit = seconds_of(record), trial.matrix.limit_seconds
    line = f"{place}: {trial.title}: {seconds:.0f} s"
    return line + (f", more than the {limit:g} s of limit_seconds" if seconds > limit else "")


def check_scores(trial: Trial, record: dict[str, Any]) -> None:
    """Refuse columns of the table that nothing was measured for.

    Raises:
        ValueError: the first of them, with those that there are.
    """
    for name in trial.matrix.searches:
        overall = record["tests"][name]["overall"]
        for score in trial.matrix.scores:
            if score not in overall:
                raise ValueError(
                    f"{trial.matrix.path}: scores: {score!r} received, some of {list(overall)} "
                    "expected"
                )


def collect(trials: Trials, output: Path, say: Callable[[str], None]) -> Records:
    """All results that belong to the settings of the matrix as it is now.

    Args:
        trials (Trials): see `list_trials`.
        output (Path): folder of the results.
        say (Callable): takes a line about each result that does not.
    """
    records: Records = {}
    for key, trial in trials.items():
        kept = _read_if_whole(result_path(trial, output))
        if kept and (change := what_changed(kept, trial)):
            say(f"{trial.title}: not in the table, {change}")
        elif kept and not missing_searches(kept, trial):
            check_scores(trial, kept)
            records[key] = kept
    return records


def delete_models(chosen: list[Trial], records: Records) -> None:
    """Remove the models of trials that were measured."""
    for trial in chosen:
        if (trial.cell, trial.seed) in records:
            delete_model(trial)
