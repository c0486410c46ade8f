"""METEOR and SPICE: the Java originals from the optional package pycocoevalcap.

They run as child processes. Nothing is downloaded here. `java_metrics_available` says beforehand
what is missing and how to get it; captions arrive tokenised like those of every other metric.

Source: M. Denkowski, A. Lavie, "Meteor Universal", WMT 2014 (version 1.5); P. Anderson et al.,
"SPICE: Semantic Propositional Image Caption Evaluation", ECCV 2016.
Departures: pycocoevalcap's own wrappers are not used. They download CoreNLP at first use, write
into the installed package, leave the METEOR process to the garbage collector, and return SPICE
scores in the order of sorted ids, which its evaluation then attaches to the wrong images; here
images are numbered and scores are read back by that number.
"""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
import subprocess
import tempfile
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

JAVA_METRICS = ("METEOR", "SPICE")
_METEOR_JAR = "meteor/meteor-1.5.jar"
_SPICE_JAR = "spice/spice-1.0.jar"
_CORENLP_JARS = (
    "spice/lib/stanford-corenlp-3.6.0.jar",
    "spice/lib/stanford-corenlp-3.6.0-models.jar",
)
_UTF8 = ("-Dfile.encoding=UTF-8", "-Duser.language=en")  # the same numbers and letters everywhere


def java_metrics_available(metric: str = "METEOR") -> str | None:
    """Whether a Java metric can run here.

    Args:
        metric (str): "METEOR" or "SPICE".

    Returns:
        str | None: None when it can; otherwise a sentence saying what is missing and how to get it.

    Raises:
        ValueError: another metric is asked for.
    """
    if metric not in JAVA_METRICS:
        raise ValueError(f"metric: {metric!r} received, one of {list(JAVA_METRICS)} expected")
    if shutil.which("java") is None:
        return (
            f"{metric} needs Java, and no program 'java' was found: install a Java runtime "
            "(on Debian or Ubuntu: apt install default-jre-headless) or leave this metric out."
        )
    package = _package_folder()
    jar = _METEOR_JAR if metric == "METEOR" else _SPICE_JAR
    if package is None or not (package / jar).is_file():
        return (
            f"{metric} needs the package pycocoevalcap, which is not installed: "
            "run pip install '.[java]' or leave this metric out."
        )
    missing = [Path(name).name for name in _CORENLP_JARS if not (package / name).is_file()]
    if metric == "SPICE" and missing:
        return (
            f"SPICE needs the Stanford CoreNLP 3.6.0 models ({' and '.join(missing)} missing), "
            "which are never downloaded without being asked for: run "
            "python -m pycocoevalcap.spice.get_stanford_models once (several hundred MB) "
            "or leave this metric out."
        )
    return None


def meteor(
    references: Mapping[Hashable, Sequence[Sequence[str]]],
    candidates: Mapping[Hashable, Sequence[str]],
) -> tuple[float, dict[Hashable, float]]:
    """METEOR 1.5 of one candidate per image.

    Args:
        references (Mapping): image id to its tokenised reference captions, one or more.
        candidates (Mapping): image id to the tokenised caption to be scored; the same ids.

    Returns:
        tuple: METEOR's own aggregate over the set (not the mean), and the score of each image;
            0..1.

    Raises:
        RuntimeError: Java, the package or a jar is missing, or the Java process failed.
    """
    _require("METEOR")
    command = ["java", *_UTF8, "-Xmx2G", "-jar", Path(_METEOR_JAR).name]
    command += ["-", "-", "-stdio", "-l", "en", "-norm"]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            cwd=(_package_folder() / _METEOR_JAR).parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
        )
        try:
            statistics = [
                _ask(process, " ||| ".join(["SCORE", *map(_join, references[i]), _join(caption)]))
                for i, caption in candidates.items()
            ]
            first = _ask(process, " ||| ".join(["EVAL", *statistics]))
            answers = [first, *(_read_line(process) for _ in statistics)]  # one more: the aggregate
            scores = [_number(answer) for answer in answers]
        except (OSError, ValueError) as error:
            process.kill()
            process.wait()
            errors.seek(0)
            said = errors.read().decode("utf-8", "replace").strip().splitlines() or [str(error)]
            raise RuntimeError(f"METEOR: the Java process failed: {said[0]}") from error
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            _close_quietly(process.stdin)
    return scores[-1], dict(zip(candidates, scores[:-1], strict=True))


def spice(
    references: Mapping[Hashable, Sequence[Sequence[str]]],
    candidates: Mapping[Hashable, Sequence[str]],
) -> tuple[float, dict[Hashable, float]]:
    """SPICE (F-score over all tuples) of one candidate per image.

    Args:
        references (Mapping): image id to its tokenised reference captions, one or more.
        candidates (Mapping): image id to the tokenised caption to be scored; the same ids.

    Returns:
        tuple: the mean over images, and the score of each image; 0..1. A caption nothing could be
            parsed from scores 0.

    Raises:
        RuntimeError: Java, the package or the CoreNLP models are missing, or the Java process
            failed.
    """
    _require("SPICE")
    image_ids = list(candidates)
    records = [
        {
            "image_id": number,
            "test": _join(candidates[image_id]),
            "refs": [_join(caption) for caption in references[image_id]],
        }
        for number, image_id in enumerate(image_ids)
    ]
    with tempfile.TemporaryDirectory(prefix="spice_") as folder:
        source, target = Path(folder, "input.json"), Path(folder, "output.json")
        source.write_text(json.dumps(records), "utf-8")
        command = ["java", *_UTF8, "-Xmx8G", "-jar", Path(_SPICE_JAR).name, str(source)]
        command += ["-out", str(target), "-subset", "-silent"]
        finished = subprocess.run(
            command,
            cwd=(_package_folder() / _SPICE_JAR).parent,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if finished.returncode != 0 or not target.is_file():
            said = finished.stderr.strip().splitlines() or [f"exit code {finished.returncode}"]
            raise RuntimeError(f"SPICE: the Java process failed: {said[0]}")
        results = json.loads(target.read_text("utf-8"))
    by_number = {int(item["image_id"]): item["scores"]["All"]["f"] for item in results}
    per_image = {}
    for number, image_id in enumerate(image_ids):
        if number not in by_number:
            raise RuntimeError(f"SPICE: no score came back for image {image_id!r}")
        score = float("nan") if by_number[number] is None else float(by_number[number])
        per_image[image_id] = 0.0 if math.isnan(score) else score
    return sum(per_image.values()) / len(per_image), per_image


def _package_folder() -> Path | None:
    """Where pycocoevalcap is installed; found without importing it."""
    spec = importlib.util.find_spec("pycocoevalcap")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def _require(metric: str) -> None:
    message = java_metrics_available(metric)
    if message is not None:
        raise RuntimeError(message)


def _join(words: Sequence[str]) -> str:
    """A caption as one line that cannot be taken for METEOR's field separator."""
    return " ".join(word for word in words if word != "|||")


def _ask(process: subprocess.Popen, line: str) -> str:
    process.stdin.write(line + "\n")
    process.stdin.flush()
    return _read_line(process)


def _read_line(process: subprocess.Popen) -> str:
    line = process.stdout.readline()
    if not line:
        raise OSError("it stopped before it answered")
    return line.strip()


def _number(answer: str) -> float:
    value = float(answer)
    return 0.0 if math.isnan(value) else value


def _close_quietly(stream) -> None:
    """Close a pipe whose reader may be gone; what is left in its buffer has no receiver."""
    try:
        stream.close()
    except OSError:
        return
