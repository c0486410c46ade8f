"""Forms and sliders for the lessons, each with a static stand-in for readers without a kernel.

A form is made from the settings of `config.py`: every field brings its meaning, its limits and its
choices along. In a live notebook it shows controls that change the config in place; where nobody
can click (a run by `make`, a page on GitHub) it shows the same settings as a table, so that no
saved notebook holds a dead widget.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field
from typing import Any

import ipywidgets
from IPython import get_ipython
from matplotlib.figure import Figure

from captioning.plotting.style import PALETTE, image_bytes
from captioning.settings import validate, walk

LIVE_MIME = "application/vnd.jupyter.widget-view+json"
COLUMNS = ("setting", "value", "allowed", "meaning")
GOOD, BAD = PALETTE["green"], PALETTE["red"]


def has_live_front_end() -> bool:
    """Whether someone sits at the notebook: JupyterLab and its kin name the cell they run, while
    nbclient, nbconvert and plain Python do not.
    """
    shell = get_ipython()
    if shell is None or not hasattr(shell, "get_parent"):
        return False
    return bool(shell.get_parent().get("metadata"))


class _Shown:
    """Something a notebook shows as a widget when it is live, and as its stand-in otherwise."""

    def __init__(self) -> None:
        self._widget: ipywidgets.Widget | None = None

    @property
    def widget(self) -> ipywidgets.Widget:
        """The live part, made when first asked for."""
        if self._widget is None:
            self._widget = self._make_widget()
        return self._widget

    def _make_widget(self) -> ipywidgets.Widget:
        raise NotImplementedError

    def _static(self) -> tuple[dict[str, Any], dict[str, Any]]:
        raise NotImplementedError

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        data, metadata = self._static()
        if has_live_front_end():
            view = {"version_major": 2, "version_minor": 0, "model_id": self.widget.model_id}
            data = {**data, LIVE_MIME: view}
        return data, metadata


# ------------------------------------------------------------------------------------------ tables


def config_rows(config: Any, names: Sequence[str] | None = None) -> list[tuple[str, ...]]:
    """The settings of a config as rows of text: name, value, what is allowed, meaning.

    Args:
        config: a dataclass of `config.py`.
        names (Sequence[str] | None): dotted names in the order wanted; None for all.

    Raises:
        ValueError: a name is not a setting of this config.
    """
    return [
        (name, _spoken(value), _allowed(field, value), field.metadata.get("help", ""))
        for name, field, value in _chosen(config, names)
    ]


class ConfigTable(_Shown):
    """Settings as a table: HTML in notebooks, aligned text elsewhere. See `config_table`."""

    def __init__(self, config: Any, names: Sequence[str] | None = None) -> None:
        super().__init__()
        self.rows = config_rows(config, names)

    def __repr__(self) -> str:
        shown = [COLUMNS[:3], *(row[:3] for row in self.rows)]
        widths = [max(len(row[i]) for row in shown) for i in range(3)]
        lines = [(*row[:3], row[3]) for row in [COLUMNS, *self.rows]]
        padded = [
            [*(c.ljust(w) for c, w in zip(line, widths, strict=False)), line[3]] for line in lines
        ]
        return "\n".join("  ".join(cells).rstrip() for cells in padded)

    def _repr_html_(self) -> str:
        left = 'align="left" style="text-align:left"'
        head = "".join(f"<th {left}>{name}</th>" for name in COLUMNS)
        body = ""
        for row in self.rows:
            name, value, allowed, meaning = map(html.escape, row)
            cells = (f"<code>{name}</code>", f"<b>{value}</b>", allowed, meaning)
            body += "<tr>" + "".join(f"<td {left}>{cell}</td>" for cell in cells) + "</tr>\n"
        return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        return {"text/html": self._repr_html_(), "text/plain": repr(self)}, {}


def config_table(config: Any, names: Sequence[str] | None = None) -> ConfigTable:
    """A table of settings: name, value now, what is allowed, meaning.

    Args:
        config: a dataclass of `config.py`.
        names (Sequence[str] | None): dotted names in the order wanted; None for all.

    Raises:
        ValueError: a name is not a setting of this config.
    """
    return ConfigTable(config, names)


def _chosen(config: Any, names: Sequence[str] | None) -> list[tuple[str, Field, Any]]:
    known = {name: (name, field, value) for name, field, value in walk(config)}
    for name in names or ():
        if name not in known:
            raise ValueError(f"names: {name!r} received, some of {sorted(known)} expected")
    return [known[name] for name in (known if names is None else names)]


def _spoken(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == "":
        return "none" if value is None else "(empty)"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _allowed(field: Field, value: Any) -> str:
    low, high, choices = (field.metadata.get(key) for key in ("low", "high", "choices"))
    if choices:
        return ", ".join(map(str, choices))
    if isinstance(value, bool):
        return "yes, no"
    if low is None and high is None:
        return "text" if isinstance(value, str) else "any"
    return f"{low:g} or more" if high is None else f"{low:g} to {high:,g}"


# ------------------------------------------------------------------------------------------- forms


class ConfigForm(_Shown):
    """Controls for some settings of a config, which they change in place. See `config_form`."""

    def __init__(self, config: Any, names: Sequence[str] | None = None) -> None:
        super().__init__()
        self.config, self.names = config, names
        self.controls: dict[str, ipywidgets.Widget] = {}
        self.message: ipywidgets.HTML | None = None
        _chosen(config, names)  # refuses unknown names now, not when it is shown

    def __repr__(self) -> str:
        return repr(config_table(self.config, self.names))

    def _static(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return config_table(self.config, self.names)._repr_mimebundle_()

    def _make_widget(self) -> ipywidgets.Widget:
        self.message = ipywidgets.HTML("Change a value: the config follows at once.")
        rows = []
        for name, field, value in _chosen(self.config, self.names):
            control = self.controls[name] = _control(field, value)
            control.observe(lambda change, name=name: self._set(name, change["new"]), "value")
            meaning = field.metadata.get("help", "")
            allowed = _allowed(field, value)
            note = f"{html.escape(meaning)} <i>({html.escape(allowed)})</i>"
            rows += [ipywidgets.HTML(f"<code>{name}</code>"), control, ipywidgets.HTML(note)]
        columns = "minmax(150px, max-content) 150px 1fr"
        layout = ipywidgets.Layout(grid_template_columns=columns, grid_gap="2px 16px")
        return ipywidgets.VBox([ipywidgets.GridBox(rows, layout=layout), self.message])

    def _set(self, name: str, value: Any) -> None:
        """Take a value over when it is valid; otherwise keep the old one and say why."""
        *path, last = name.split(".")
        owner = self.config
        for part in path:
            owner = getattr(owner, part)
        before = getattr(owner, last)
        try:
            setattr(owner, last, _same_type(value, before))
            validate(self.config)
        except ValueError as error:
            setattr(owner, last, before)
            text, colour = f"Not taken: {error} (it stays {_spoken(before)}).", BAD
        else:
            text, colour = f"{name} is now {_spoken(getattr(owner, last))}.", GOOD
        self.message.value = f'<span style="color:{colour}">{html.escape(text)}</span>'


def config_form(config: Any, names: Sequence[str] | None = None) -> ConfigForm:
    """A form that changes settings of a config in place; without a live notebook, their table.

    Args:
        config: a dataclass of `config.py`; the form edits this very object.
        names (Sequence[str] | None): dotted names in the order wanted, e.g.
            "training.num_epochs"; None for all.

    Returns:
        ConfigForm: shown by a notebook when it is the last line of a cell.

    Raises:
        ValueError: a name is not a setting of this config.
    """
    return ConfigForm(config, names)


def _control(field: Field, value: Any) -> ipywidgets.Widget:
    """The control that suits a setting; limits are checked by the config, which says why."""
    choices = field.metadata.get("choices")
    common = {
        "value": value,
        "tooltip": field.metadata.get("help", ""),
        "layout": ipywidgets.Layout(width="140px"),
    }
    if choices:
        return ipywidgets.Dropdown(options=list(choices), **common)
    if isinstance(value, bool):
        return ipywidgets.Checkbox(indent=False, **common)
    if isinstance(value, int):
        return ipywidgets.IntText(**common)
    if isinstance(value, float):
        return ipywidgets.FloatText(**common)
    common["value"] = "" if value is None else str(value)
    return ipywidgets.Text(continuous_update=False, **common)


def _same_type(value: Any, before: Any) -> Any:
    """What was typed, for a setting that may be none: a whole number or nothing."""
    if before is not None or not isinstance(value, str):
        return value
    if value.strip() in ("", "none"):
        return None
    try:
        return int(value)
    except ValueError:
        raise ValueError(f"{value!r} received, a whole number or nothing expected") from None


# ----------------------------------------------------------------------------------------- sliders


class Slider(_Shown):
    """A function of a few numbers, shown for the values the sliders stand at. See `slider`."""

    def __init__(self, function: Callable[..., Any], ranges: Mapping[str, Any]) -> None:
        super().__init__()
        self.function, self.ranges = function, dict(ranges)
        for name, limits in self.ranges.items():
            _check_range(name, limits)
        self.defaults = {n: r[0] if isinstance(r, list) else r[2] for n, r in self.ranges.items()}
        self.controls: dict[str, ipywidgets.Widget] = {}

    def __repr__(self) -> str:
        values = ", ".join(f"{name} = {_spoken(value)}" for name, value in self.defaults.items())
        return f"(live notebook: sliders; here for {values})"

    def _static(self) -> tuple[dict[str, Any], dict[str, Any]]:
        result = self.function(**self.defaults)
        shell = get_ipython()
        if shell is None:
            return {"text/plain": f"{result}\n{self!r}"}, {}
        data, metadata = shell.display_formatter.format(result)
        data["text/plain"] = f"{data.get('text/plain', '')}\n{self!r}".strip()
        return data, metadata

    def _make_widget(self) -> ipywidgets.Widget:
        for name, limits in self.ranges.items():
            self.controls[name] = _slider_control(name, limits)
            self.controls[name].observe(lambda _: self._update(), "value")
        self.view = ipywidgets.VBox(layout=ipywidgets.Layout(overflow="hidden"))
        self._update()
        return ipywidgets.VBox([*self.controls.values(), self.view])

    def _update(self) -> None:
        values = {name: control.value for name, control in self.controls.items()}
        self.view.children = (_as_widget(self.function(**values)),)


def slider(function: Callable[..., Any], **ranges: Any) -> Slider:
    """Call a function for the values of sliders; without a live notebook, for the defaults.

    Args:
        function (Callable): called with one keyword for each range; returns a figure, something
            with `_repr_html_`, or anything that has a text.
        **ranges: for each keyword `(low, high, default)`, or a list of choices whose first is the
            default. Whole numbers stay whole.

    Returns:
        Slider: shown by a notebook when it is the last line of a cell.

    Raises:
        ValueError: a range is neither a list nor three numbers in order.
    """
    return Slider(function, ranges)


def _check_range(name: str, limits: Any) -> None:
    if isinstance(limits, list) and limits:
        return
    if not (isinstance(limits, tuple) and len(limits) == 3 and limits[0] <= limits[2] <= limits[1]):
        raise ValueError(
            f"{name}: {limits!r} received, (low, high, default) with low <= default <= high or a "
            "list of choices expected"
        )


def _slider_control(name: str, limits: Any) -> ipywidgets.Widget:
    if isinstance(limits, list):
        return ipywidgets.Dropdown(options=limits, value=limits[0], description=name)
    low, high, default = limits
    common = {"description": name, "continuous_update": False, "value": default}
    if all(isinstance(number, int) for number in limits):
        return ipywidgets.IntSlider(min=low, max=high, **common)
    step = 10 ** math.floor(math.log10(max(high - low, 1e-9) / 20))
    return ipywidgets.FloatSlider(min=low, max=high, step=step, **common)


def _as_widget(result: Any) -> ipywidgets.Widget:
    """A result of a function as something a widget can hold."""
    if isinstance(result, Figure):
        content, kind = image_bytes(result)
        layout = ipywidgets.Layout(max_width="100%", object_fit="contain")
        return ipywidgets.Image(value=content, format=kind, layout=layout)
    if hasattr(result, "_repr_html_"):
        return ipywidgets.HTML(result._repr_html_())
    return ipywidgets.HTML(f"<pre>{html.escape(str(result))}</pre>")
