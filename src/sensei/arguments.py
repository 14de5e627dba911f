"""The words after ``sensei COMMAND``: dials, and any field of the configuration.

tyro documents and parses them. Its answer to a mistake is a box of many lines, so names are
looked up first and values explained here, in one line that says what to write instead.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import tyro
import yaml

from sensei.annotate import annotator
from sensei.core.config import SIZES
from sensei.fields import field_names, read_file, unknown_field, updated, with_dotted
from sensei.presets import Budget, RunConfig, check_picture, preset, run_dir, saved_config
from sensei.run.workspace import Workspace
from sensei.stages.config import Method
from sensei.types import UsageError

_BUDGETS, _METHODS = "|".join(get_args(Budget)), "|".join(get_args(Method))
_ANNOTATORS = "|".join(get_args(annotator.Kind))
_OPTIONS = "env.options."


@dataclasses.dataclass(frozen=True)
class Dials:
    """The few words most runs need; every other field follows below, by its dotted name."""

    preset: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[PRESET]")] = None
    """keychest, keyroom, tiny (sensei presets lists them), or an environment like --env."""
    env: Annotated[str | None, tyro.conf.arg(metavar="PRESET|gym:ID|module:callable")] = None
    """Environment, when it is not the preset's."""
    budget: Annotated[str | None, tyro.conf.arg(metavar=_BUDGETS)] = None
    """How long each stage works; quick when nothing says otherwise."""
    size: Annotated[str | None, tyro.conf.arg(metavar="|".join(SIZES))] = None
    """Size of the networks; the budget's own when not given."""
    method: Annotated[str | None, tyro.conf.arg(metavar=_METHODS)] = None
    """How the agent explores (explore.method)."""
    annotator: Annotated[str | None, tyro.conf.arg(metavar=_ANNOTATORS)] = None
    """Who compares pictures (annotator.kind)."""
    task: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="NAME …")] = None
    """Tasks to solve from one exploration, each on its own: task, or the environment's extra
    rewards (solve.task, solve.more_tasks)."""
    until: Annotated[str | None, tyro.conf.arg(metavar="STAGE")] = None
    """sensei run only: the last stage, say distill or explore; the whole pipeline without it."""
    config: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """YAML file of fields, all or some, such as a run's config.yaml."""
    print_config: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the resolved configuration and do nothing."""
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print what would be done and what it would take, and do nothing."""
    force: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Delete what the stage has and redo it."""


@dataclasses.dataclass(frozen=True)
class _Arguments:
    dials: Annotated[Dials, tyro.conf.arg(name="")]
    fields: Annotated[RunConfig, tyro.conf.arg(name="")]


def resolve(command: str, words: Sequence[str]) -> tuple[Dials, RunConfig]:
    """Turn the words after ``sensei COMMAND`` into dials and the run's whole configuration.

    Later wins: preset with budget and size, ``--config`` file, flags. A file that names an
    environment is put on that one's preset. In the folder of a run, without preset, budget or
    file, the run's own configuration takes the place of the first.
    ``--help`` prints the fields with the values they would have, and exits.

    Raises:
        UsageError: a name or a value is wrong; one line says which and what to write.
    """
    words, options = _take_options(words)
    plain = [word for word in words if word not in ("-h", "--help")]
    _check_names(plain)
    # Dotted fields may only hold together on the base, so they are not read before there is one.
    bare = _Arguments(Dials(), RunConfig(dir=""))
    first = _parse(command, _undotted(plain), bare, plain)
    base = _base(first.dials, first.fields)
    shown = dataclasses.replace(base, env=dataclasses.replace(base.env, options={}))
    config = _parse(command, words, _Arguments(Dials(), shown), plain).fields
    env = dataclasses.replace(config.env, options=base.env.options | options)
    config = dataclasses.replace(config, env=env)
    check_picture(config)
    return first.dials, config


def _base(dials: Dials, given: RunConfig) -> RunConfig:
    """Return the configuration on which the dotted flags are put.

    ``given`` holds bare defaults but for its folder and seed.
    """
    file = read_file(dials.config) if dials.config is not None else {}
    config = updated(_start(dials, given, file), file)
    if dials.size is not None:
        size = preset(size=dials.size).agent.size
        config = dataclasses.replace(config, agent=dataclasses.replace(config.agent, size=size))
    named: dict[str, Any] = {
        "dir": given.dir or None,
        "env.name": dials.env,
        "explore.method": dials.method,
        "annotator.kind": dials.annotator,
    }
    if dials.task is not None:
        if not dials.task:
            raise UsageError("--task has no value: give one after it")
        named |= {"solve.task": dials.task[0], "solve.more_tasks": dials.task[1:]}
    return with_dotted(config, {name: value for name, value in named.items() if value is not None})


def _start(dials: Dials, given: RunConfig, file: Mapping[str, Any]) -> RunConfig:
    """Return the run's own configuration, or the preset of what the words or the file name."""
    workspace = Workspace(given.dir)
    own = workspace.config() if given.dir and workspace.exists() else {}
    chosen = (dials.preset, dials.env, dials.budget, dials.config)
    if own and all(choice is None for choice in chosen):
        return saved_config(workspace)
    known = (_named(plain, "env", "name") for plain in (file, own))
    name = dials.preset or dials.env or next(filter(None, known), "keychest")
    method = dials.method or _named(file, "explore", "method") or "sensei"
    budget = dials.budget or "quick"
    config = preset(name, budget, dials.size, method)
    place = run_dir(dials.env or name, budget, dials.size or "", method, given.seed)
    return dataclasses.replace(config, dir=place)


def _named(plain: Mapping[str, Any], section: str, field: str) -> str | None:
    """Look a field up in what a file holds, which may turn out to be anything."""
    fields = plain.get(section)
    value = fields.get(field) if isinstance(fields, Mapping) else None
    return None if value is None else str(value)


def _parse(
    command: str, words: Sequence[str], default: _Arguments, typed: Sequence[str]
) -> _Arguments:
    """Put the words on the default; a mistake is explained from all that was typed."""
    asks_help = any(word in ("-h", "--help") for word in words)
    call = functools.partial(
        tyro.cli, _Arguments, prog=f"sensei {command}", description="", default=default
    )
    try:
        if asks_help:
            return call(args=["--help"])
        # Not console_outputs=False alone: values that cannot be read are printed regardless.
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            return call(args=list(words), console_outputs=False)
    except SystemExit as stop:
        if asks_help or not stop.code:
            raise
        raise _explanation(command, typed) from None


def _take_options(words: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Split off ``--env.options.NAME VALUE``, whose names only the environment knows."""
    left, options = [], {}
    words = list(words)
    while words:
        word = words.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not name.startswith(_OPTIONS):
            left.append(word)
            continue
        if not equals and not words:
            raise UsageError(f"{word} has no value: give one after it")
        option = name.removeprefix(_OPTIONS).replace("-", "_")
        options[option] = yaml.safe_load(value if equals else words.pop(0))
    return left, options


def _undotted(words: Sequence[str]) -> list[str]:
    """Leave out every ``--SECTION.FIELD`` with its values."""
    left, words = [], list(words)
    while words:
        word = words.pop(0)
        name = _field(word)
        if not word.startswith("--") or "." not in name:
            left.append(word)
        elif "=" not in word:
            del words[: min(_most_values(name), len(_values([word, *words], 0)))]
    return left


def _most_values(name: str) -> int:
    """How many words a dotted field takes at most; ``section.no_switch`` is a field as well."""
    section, _, field = name.rpartition(".")
    hints = get_type_hints(type(_value(RunConfig(), section)))
    kind = hints.get(field, bool)
    if kind is bool:
        return 0
    if get_origin(kind) is not tuple:
        return 1
    parts = get_args(kind)
    return sys.maxsize if Ellipsis in parts else len(parts)


def _check_names(words: Sequence[str]) -> None:
    known = _known_names()
    for word in words:
        if word.startswith("--") and _field(word) not in known:
            raise unknown_field(_field(word), known)


def _known_names() -> list[str]:
    dials = [field.name for field in dataclasses.fields(Dials) if field.name != "preset"]
    config = RunConfig()
    names = [name for name in field_names(config) if not _is_section(config, name)]
    switches = [name for name in names if isinstance(_value(config, name), bool)]
    opposites = [f"{name.rpartition('.')[0]}.no_{name.rpartition('.')[2]}" for name in switches]
    return [*dials, *names, *opposites]


def _explanation(command: str, words: Sequence[str]) -> UsageError:
    """Find out which word tyro could not read."""
    config = RunConfig()
    names = field_names(config)
    for position, word in enumerate(words):
        name = _field(word)
        if not word.startswith("--") or name not in names or _is_section(config, name):
            continue
        values = _values(words, position)
        if isinstance(_value(config, name), bool):
            if not values:
                continue
            section, _, switch = word.removeprefix("--").partition("=")[0].rpartition(".")
            yes, no = (f"--{section}.{s}{switch}" for s in ("", "no-"))
            return UsageError(f"{word} is a switch and takes no value: write {yes} or {no}")
        if not values:
            return UsageError(f"{word} has no value: give one after it")
        try:
            with_dotted(config, {name: _as_typed(_value(config, name), values)})
        except UsageError as error:
            return error
    return UsageError(f"cannot read {' '.join(words)!r}: sensei {command} --help lists the words")


def _values(words: Sequence[str], position: int) -> list[str]:
    _, equals, value = words[position].partition("=")
    if equals:
        return [value]
    following = list(words[position + 1 :])
    flags = [index for index, word in enumerate(following) if word.startswith("--")]
    return following[: flags[0]] if flags else following


def _as_typed(default: Any, values: list[str]) -> Any:
    """Read the words as YAML would, except where text is wanted."""
    if isinstance(default, tuple):
        return [yaml.safe_load(value) for value in values]
    return values[0] if isinstance(default, str) else yaml.safe_load(values[0])


def _field(word: str) -> str:
    return word.removeprefix("--").partition("=")[0].replace("-", "_")


def _value(config: Any, name: str) -> Any:
    for part in name.split("."):
        config = getattr(config, part)
    return config


def _is_section(config: Any, name: str) -> bool:
    return dataclasses.is_dataclass(_value(config, name)) or name + "." == _OPTIONS
