"""The command ``sensei``: one pipeline, its stages, and a few commands beside them.

Exit codes: 0 done, 1 failed, 2 usage, 3 stopped but resumable. An error is one line on standard
error; ``SENSEI_TRACEBACK=1`` shows where it came from. Everything heavy is imported by the
command that needs it, so ``sensei --help`` answers at once.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sensei.types import SenseiError, Stopped, UsageError

if TYPE_CHECKING:
    from sensei.arguments import Dials
    from sensei.presets import RunConfig

STAGES = {
    "run": "the whole pipeline, resumable; without PRESET: keychest, quick",
    "collect": "random or Plan2Explore episodes, with frames to label",
    "annotate": "pairs of frames → which one is more interesting; --quality: how good they are",
    "distill": "labels → the semantic reward",
    "explore": "world model and agent, exploring by the chosen method",
    "solve": "a task on the explored world model",
    "evaluate": "episodes of the solved task: scores and videos",
    "report": "one self-contained page about the run",
}
LOOKS = {
    "study": "methods × environments × conditions × seeds, and one page that compares them",
    "presets": "list the presets",
    "doctor": "what is missing, and what a run will take",
    "export": "a run's labels as JSON lines, Parquet or a Hugging Face dataset",
    "import": "a published MOTIF or SENSEI label folder as a run, ready to distill",
}
COMMANDS = STAGES | LOOKS

FAILED, STOPPED = 1, Stopped.exit_code


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (without the program's name) and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    # SIGTERM means the same as Ctrl-C: save and stop. Loops catch both at a safe point.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("sensei: stopped; the same command continues", file=sys.stderr)
        return STOPPED
    except SenseiError as error:
        if os.environ.get("SENSEI_TRACEBACK") == "1":
            traceback.print_exc()
        kind = "stopped" if isinstance(error, Stopped) else "error"
        print(f"sensei: {kind}: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        if error.errno == errno.EPIPE and _no_reader():  # head, say, has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        remedy = "free some space and give the same command again, it continues"
        print(f"sensei: error: {error}: {remedy}", file=sys.stderr)
        return FAILED


def _no_reader() -> bool:
    """Whether the other end of the pipe that is printed to was closed."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return 0
    if words[0] == "--version":
        from sensei import __version__

        print(f"sensei {__version__}")
        return 0
    command, rest = words[0], words[1:]
    if command not in COMMANDS:
        raise _unknown_command(command)
    if command == "presets":
        return _presets(rest)
    if command == "export":
        return _export(rest)
    if command == "import":
        return _import(rest)
    if command == "annotate" and "--quality" in rest:
        return _quality(rest)
    if command == "study":
        from sensei.study.command import study

        return study(rest)
    return _with_config(command, rest, _doctor if command == "doctor" else None)


def _with_config(command: str, words: list[str], look: Callable[[RunConfig], int] | None) -> int:
    from sensei.arguments import resolve

    try:
        dials, config = resolve(command, words)
    except SystemExit as stop:  # --help has been printed
        return int(stop.code or 0)
    if dials.print_config:
        print(_yaml(config), end="")
        return 0
    if look is not None:
        return look(config)
    if dials.until is not None and command != "run":
        raise UsageError(f"--until is for sensei run; sensei {command} is one stage already")
    if dials.dry_run:
        return _dry_run(command, config, dials)
    return _work(command, config, dials, words)


def _work(command: str, config: RunConfig, dials: Dials, words: list[str]) -> int:
    from sensei.doctor import estimate
    from sensei.run.workspace import Workspace
    from sensei.stages.pipeline import execute

    if command == "run":
        print(f"{config.dir}: {estimate(config)}", file=sys.stderr)
    workspace = Workspace(config.dir)
    line = ["sensei", command, *words]
    try:
        last = dials.until or "report"
        summary = execute(config, workspace, command, last=last, force=dials.force, command=line)
    except (Stopped, KeyboardInterrupt) as error:
        reason = str(error) or "interrupted"
        raise Stopped(f"{reason}; continue with: sensei {command} --dir {config.dir}") from error
    print(json.dumps(summary, indent=2, ensure_ascii=False))
    return 0


def _dry_run(command: str, config: RunConfig, dials: Dials) -> int:
    from sensei.doctor import estimate
    from sensei.run.workspace import Workspace
    from sensei.stages.pipeline import chosen

    workspace = Workspace(config.dir)
    if command == "annotate":
        from sensei.stages.price import price

        print(price(config, workspace))
        return 0
    for step in chosen(config, workspace, command, dials.until or "report"):
        record = workspace.record(step.key)
        state = "to do" if record is None else record.status
        print(f"{step.key}: {f'redo ({state})' if dials.force and record else state}")
    print(f"from the beginning: {estimate(config)}")
    return 0


def _doctor(config: RunConfig) -> int:
    from sensei import doctor

    for line in doctor.facts():
        print(line)
    found = doctor.problems(config)
    if not found:
        from sensei.envs.trial import try_out

        trial = try_out(config.env, config.seed)
        offered, found = doctor.annotator_lines(trial.spec, config)
        found = [*trial.problems, *found]
        for line in [*trial.lines, *offered]:
            print(f"{config.env.name} {line}")
    print(f"{config.dir}: {doctor.estimate(config)}")
    for problem in found:
        print(f"missing: {problem}")
    if not found:
        print("nothing is missing")
    return FAILED if found else 0


def _presets(words: list[str]) -> int:
    from sensei.presets import PRESETS

    if words and words[0] not in ("-h", "--help"):
        raise UsageError(f"sensei presets takes no words, not {words[0]!r}")
    for name, preset in PRESETS.items():
        print(f"{name:16} {preset.about}")
    print("gym:ID           any registered Gymnasium environment")
    print("minihack:ID      any registered level of MiniHack, say minihack:MiniHack-Room-5x5-v0")
    print("module:callable  your own: a callable that returns a gymnasium.Env")
    return 0


def _quality(words: list[str]) -> int:
    """Print what the labels of a run are worth, by annotator; ``--json`` as JSON."""
    from sensei.arguments import resolve
    from sensei.report.labels import measured_labels, quality_lines
    from sensei.run.workspace import Workspace

    rest = [word for word in words if word not in ("--quality", "--json")]
    _, config = resolve("annotate", rest)
    found = measured_labels(Workspace(config.dir).labels)
    if "--json" in words:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return 0
    for quality in found:
        print("\n".join(quality_lines(quality)))
    return 0


EXPORT_USAGE = "sensei export labels --dir RUN --to FILE.jsonl|FILE.parquet|FOLDER"


def _export(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(f"usage: {EXPORT_USAGE}")
        return 0
    given = dict(zip(words[1::2], words[2::2], strict=False))
    if words[0] != "labels" or len(words) != 5 or given.keys() != {"--dir", "--to"}:
        raise UsageError(f"export {' '.join(words)}: write {EXPORT_USAGE}")
    from sensei.export import export_labels

    print(export_labels(given["--dir"], given["--to"]))
    return 0


IMPORT_USAGE = "sensei import motif FOLDER --dir RUN [--preference NAME] [PRESET] [--dial VALUE …]"


def _import(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(f"usage: {IMPORT_USAGE}")
        return 0
    if words[0] != "motif" or len(words) < 2 or words[1].startswith("-"):
        raise UsageError(f"import {' '.join(words)}: write {IMPORT_USAGE}")
    from sensei.importing import describe, import_motif, run_config

    folder = words[1]
    preference, rest = _take_preference(words[2:])
    dials, config = run_config(rest)
    if dials.print_config:
        print(_yaml(config), end="")
    elif dials.dry_run:
        print(describe(folder))
    else:
        line = ["sensei", "import", *words]
        print(import_motif(config, folder, preference, force=dials.force, command=line))
    return 0


def _take_preference(words: list[str]) -> tuple[str | None, list[str]]:
    """Split off ``--preference NAME``, which is no field of the run."""
    import argparse

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--preference")
    try:
        given, rest = parser.parse_known_args(words)
    except argparse.ArgumentError as error:
        raise UsageError("--preference has no value: give a file's name without .npy") from error
    return given.preference, rest


def _yaml(config: RunConfig) -> str:
    import yaml

    from sensei.fields import to_plain

    return yaml.safe_dump(to_plain(config), sort_keys=False)


def _unknown_command(command: str) -> UsageError:
    import difflib

    near = difflib.get_close_matches(command, COMMANDS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "sensei --help lists them"
    return UsageError(f"no command {command!r}: {hint}")


def _help() -> str:
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:{width}}{about}" for name, about in COMMANDS.items()]
    return "\n".join(
        [
            "usage: sensei COMMAND [PRESET] [--dial VALUE …]",
            "",
            "Semantic exploration for world models.",
            "",
            *lines,
            "",
            "The same command again continues; a finished stage is not repeated without --force.",
            "sensei COMMAND --help lists every dial and field; sensei --version tells the version.",
        ]
    )
