"""Captioners with random weights, small enough to be made in a test, and the page over them."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from captioning.bundle import Captioner
from captioning.config import (
    DecoderConfig,
    EncoderConfig,
    Experiment,
    GenerationConfig,
    TransformConfig,
)
from vocabulary import Vocabulary

ROOT = Path(__file__).parent.parent
WORDS = "a boy with the red kite is near two green dogs".split()


def tiny_bundle(folder: Path, kind: str = "attention", fit: str = "stretch") -> Captioner:
    """Save a captioner without training; its captions are random words, the same every time."""
    torch.manual_seed(1)
    experiment = Experiment(
        transform=TransformConfig(image_size=32, fit=fit),
        encoder=EncoderConfig(backbone="resnet18", weights="none", cut="layer2"),
        decoder=DecoderConfig(kind=kind, embed_dim=8, hidden_dim=16, attention_dim=8),
        generation=GenerationConfig(max_length=6),
    )
    captioner = Captioner.build(experiment, Vocabulary(WORDS), load_weights=False)
    with torch.no_grad():  # larger weights: the choice between words is clear
        for parameter in captioner.decoder.parameters():
            parameter.mul_(4)
        captioner.decoder.output.bias[2] = -9.0  # no `<end>`: a caption has all six words
    captioner.save(folder, half=True)
    return captioner


@contextlib.contextmanager
def served(models: Path) -> Iterator[str]:
    """The address of the page, started as a reader starts it; Ctrl-C must end it cleanly."""
    command = [sys.executable, "gradio_main.py", "--models", str(models), "--port", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*command, "--device", "cpu"], cwd=ROOT, **pipes) as server:
        try:
            line = server.stdout.readline()
            assert line.startswith("Open http"), server.stderr.read()
            yield line.split()[1]
            server.send_signal(signal.SIGINT)
            output, errors = server.communicate(timeout=120)
        finally:
            server.kill()
    ended = (server.returncode, output, errors)
    assert ended == (0, "Page closed.\n", ""), ended
