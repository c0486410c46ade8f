"""The model card of a bundle: what it is, what it was trained on, how good it is."""

from __future__ import annotations

from captioning.bundle import Captioner
from captioning.decoders.build import describe_sizes
from captioning.training.self_critical import describe_signature


def how_rewarded(captioner: Captioner) -> str:
    """The row about the reward, and the row about the start; empty for cross-entropy."""
    rows = ""
    if captioner.experiment.init_from:
        rows += f"| started from | `{captioner.experiment.init_from}` |\n"
    if captioner.reward:
        rows += f"| rewarded by | {describe_signature(captioner.reward)} |\n"
    return rows


def model_card(captioner: Captioner, name: str) -> str:
    """Markdown for `README.md` in the bundle."""
    experiment, record = captioner.experiment, captioner.record
    encoder, decoder = experiment.encoder, experiment.decoder
    parameters = sum(p.numel() for p in captioner.networks().parameters())
    cut = f" up to {encoder.cut}" if encoder.cut else ""
    scores = record.get("validation", {})
    rows = "\n".join(
        f"| {key} | {value:.4f} |" for key, value in scores.items() if isinstance(value, float)
    )
    return f"""# {name}

An image captioner: {encoder.backbone}{cut}, then {decoder.kind} decoder
({describe_sizes(decoder)}), {parameters:,} parameters,
{len(captioner.vocabulary)} words.

| | |
|---|---|
| trained on | `{record.get("data", "?")}` |
| best epoch | {record.get("epoch", "?")} |
| seed | {record.get("seed", "?")} |
| picture size | {experiment.transform.image_size} px |
{how_rewarded(captioner)}
Validation, greedy search, freely running:

| metric | score |
|---|---|
{rows}

```python
from captioning.bundle import Captioner

print(Captioner.load("models/{name}").caption("photo.jpg"))
```

It says what it saw in training and nothing else: it names objects that resemble what it knows,
and its captions of other pictures are guesses.
"""
