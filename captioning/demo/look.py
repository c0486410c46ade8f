"""How the page looks: colours and fonts, the style sheet, and the pieces of HTML it shows.

Everything comes from this machine: the fonts are two of those that Gradio brings along (some of
its others lack Latin letters).
"""

from __future__ import annotations

from html import escape
from pathlib import Path

import gradio as gr

from captioning.demo.answer import Answer
from captioning.plotting.attention import Frame
from vocabulary import join_words

STYLE_SHEET = Path(__file__).with_name("page.css")

# A click (or the enter key) on a word of a caption; Gradio hands row and word to Python.
WORD_CLICKS = """
element.addEventListener('click', (event) => {
  const word = event.target.closest('button.word');
  if (!word) return;
  for (const other of element.querySelectorAll('button.word'))
    other.setAttribute('aria-pressed', String(other === word));
  trigger('click', {row: Number(word.dataset.row), word: Number(word.dataset.word)});
});
"""

HEADER = """
<header class="masthead">
  <h1>Picture in, sentence out</h1>
  <p>A small neural network looks at your picture and describes it, one word after the other.
  Click a word of its caption to see where it looked when it said that word.</p>
</header>
"""

NOTEBOOKS = (
    ("0_Dataset_Exploration.ipynb", "the pictures and their captions"),
    ("1_Architecture.ipynb", "how the network is built"),
    ("2_Training.ipynb", "how it learns"),
    ("3_Inference.ipynb", "how it finds its words"),
    ("4_SelfCritical.ipynb", "learning from its own captions"),
    ("5_Transformers.ipynb", "attention in place of recurrence"),
    ("6_SemiAutoregressive.ipynb", "several words at a time"),
    ("7_CLIP_Reward.ipynb", "a reward that sees the picture"),
)

METHODS = {
    "beam": "Keeps several captions open at every word and ends with the likeliest one.",
    "greedy": "Always takes the likeliest next word. Fast, and the same every time.",
    "sample": "Rolls loaded dice for every word. A low temperature plays safe, a high one dares.",
}

EMPTY = """
<div class="hint"><p>The caption appears here.</p>
<p>Choose a picture, then press <b>Caption it</b>.</p></div>
"""
WAITING = """
<div class="hint"><p>A fine picture.</p><p>Press <b>Caption it</b> to have it described.</p></div>
"""


def theme() -> gr.themes.Base:
    """Paper, ink and the blue of our drawings; system colours follow in the dark."""
    blue = gr.themes.Color(
        *("#eef4fc", "#dbe8f8", "#b9d1f0", "#8fb5e5", "#5f93d7", "#3b78c9"),
        *("#2f66b0", "#285593", "#234674", "#1d3858", "#14263d"),
        name="book_blue",
    )
    paper = gr.themes.Color(
        *("#fdfbf7", "#f7f3eb", "#ebe5d9", "#d8d0c2", "#a9a29a", "#7d7885"),
        *("#5d596a", "#454254", "#343144", "#262433", "#1b1a26"),
        name="book_paper",
    )
    body = (gr.themes.LocalFont("Source Sans Pro", weights=(400, 700)), "system-ui", "sans-serif")
    look = gr.themes.Base(
        primary_hue=blue,
        secondary_hue=blue,
        neutral_hue=paper,
        radius_size=gr.themes.sizes.radius_lg,
        font=body,
        font_mono=("ui-monospace", "Consolas", "monospace"),
    )
    return look.set(
        body_background_fill="*neutral_100",
        body_background_fill_dark="*neutral_950",
        body_text_color="#2c2a3a",
        body_text_color_dark="*neutral_100",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_border_color="*neutral_200",
        block_label_text_color="*neutral_600",
        block_title_text_color="*neutral_700",
        block_info_text_color="*neutral_600",
        button_primary_background_fill="*primary_500",
        button_primary_background_fill_hover="*primary_600",
        button_primary_background_fill_dark="*primary_500",
        button_primary_text_color="white",
    )


def footer() -> str:
    """The lessons behind the page."""
    rows = "".join(f"<li><code>{name}</code><span>{what}</span></li>" for name, what in NOTEBOOKS)
    return f"""<footer class="lessons"><p>The lessons behind this page</p><ul>{rows}</ul>
    <p>Everything runs on this machine; your pictures stay here.</p></footer>"""


def captions_html(answer: Answer, picked: int) -> str:
    """The captions with every word as a button; the best one is set large."""
    parts = []
    for row, caption in enumerate(answer.captions):
        words = []
        for index, word in enumerate(caption.words):
            text = join_words([word], capitalize=index == 0)
            pressed = str(row == 0 and index == picked).lower()
            words.append(
                f'<button type="button" class="word" data-row="{row}" data-word="{index}" '
                f'data-text="{escape(word)}" '
                f'aria-pressed="{pressed}">{escape(text)}</button>'
            )
        sentence = " ".join(words) if words else "<i>(no words at all)</i>"
        sentence += "." if caption.text.endswith(".") else ""
        kind = "best" if row == 0 else "other"
        note = f'<small title="natural log of its probability">{minus(caption.logprob)}</small>'
        parts.append(f'<p class="caption {kind}">{sentence} {note if row else ""}</p>')
    best = minus(answer.captions[0].logprob)
    facts = f"{answer.ms} ms &middot; log-probability {best} &middot; {escape(answer.model)}"
    return f'<div class="captions">{"".join(parts)}<p class="took">{facts}</p></div>'


def minus(number: float) -> str:
    """One decimal, with a real minus sign."""
    return f"{number:.1f}".replace("-", "\u2212")


def overlay_title(answer: Answer, row: int, word: int) -> str:
    """What the heat map shows, in words, or why there is none."""
    if not answer.has_attention:
        return (
            '<p class="note">This decoder reads the whole picture once, before its first word. '
            "It has no attention, so there is no map of where it looked.</p>"
        )
    words = answer.captions[row].words
    if not 0 <= word < len(words):
        return ""
    whole = answer.frame == Frame()
    cropped = "" if whole else '<p class="note">The white frame is the part it can see.</p>'
    return (
        f'<div class="maptitle"><h2>Where it looked for <q>{escape(words[word])}</q></h2>'
        f'<span class="scale"><i></i>little &rarr; much</span></div>'
        f"{cropped}"
    )


def facts_html(table: dict[str, str]) -> str:
    """Model facts as a quiet list."""
    rows = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in table.items())
    return f'<dl class="facts">{rows}</dl>'


def notice(sentence: str) -> str:
    """A sentence that cannot be missed."""
    return f'<div class="notice" role="status">{escape(sentence)}</div>' if sentence else ""
