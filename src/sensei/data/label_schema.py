"""The tables of a label store, their versions, and how a connection to them is made."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from sensei.types import SenseiError

MIGRATIONS: list[list[str]] = [
    [
        """CREATE TABLE frames (
            id INTEGER PRIMARY KEY,
            stage TEXT NOT NULL, generation INTEGER NOT NULL,
            env INTEGER NOT NULL, episode INTEGER NOT NULL, step INTEGER NOT NULL,
            split TEXT NOT NULL CHECK (split IN ('train', 'val')),
            score REAL, text TEXT NOT NULL, vector BLOB NOT NULL,
            UNIQUE (stage, env, step))""",
        # Apart from the frames, so that reading 100,000 rows of numbers touches no picture; the
        # agent's image first, since training reads it without the larger one.
        """CREATE TABLE pictures (
            frame INTEGER PRIMARY KEY REFERENCES frames ON DELETE CASCADE,
            obs BLOB, picture BLOB NOT NULL)""",
        """CREATE TABLE pairs (
            id INTEGER PRIMARY KEY,
            first INTEGER NOT NULL REFERENCES frames ON DELETE CASCADE,
            second INTEGER NOT NULL REFERENCES frames ON DELETE CASCADE,
            generation INTEGER NOT NULL, sampler TEXT NOT NULL,
            CHECK (first <> second))""",
        "CREATE UNIQUE INDEX pairs_once ON pairs (min(first, second), max(first, second))",
        "CREATE INDEX pairs_first ON pairs (first)",
        "CREATE INDEX pairs_second ON pairs (second)",
        """CREATE TABLE prompts (
            hash TEXT PRIMARY KEY, name TEXT NOT NULL, version INTEGER NOT NULL,
            body TEXT NOT NULL)""",
        """CREATE TABLE queries (
            pair INTEGER NOT NULL REFERENCES pairs ON DELETE CASCADE,
            annotator TEXT NOT NULL,
            shown TEXT NOT NULL CHECK (shown IN ('forward', 'swapped')),
            repeat INTEGER NOT NULL,
            prompt_hash TEXT NOT NULL,
            status TEXT NOT NULL CHECK (status IN ('labelled', 'unknown', 'failed')),
            choice TEXT, p_second REAL, raw TEXT NOT NULL,
            tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, money REAL,
            latency_s REAL NOT NULL, error TEXT,
            created TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
            PRIMARY KEY (pair, annotator, shown, repeat)) WITHOUT ROWID""",
    ],
    [
        # What the wire said of each option, and what the answer took. Answers of version 1 took
        # one request at least; how many is not known any more.
        "ALTER TABLE queries ADD COLUMN wire TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE queries ADD COLUMN probabilities TEXT",
        "ALTER TABLE queries ADD COLUMN images INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE queries ADD COLUMN requests INTEGER NOT NULL DEFAULT 1",
        "ALTER TABLE queries ADD COLUMN unaccounted INTEGER NOT NULL DEFAULT 0",
        """CREATE TABLE asking (
            pair INTEGER NOT NULL REFERENCES pairs ON DELETE CASCADE,
            annotator TEXT NOT NULL, shown TEXT NOT NULL, repeat INTEGER NOT NULL,
            owner TEXT NOT NULL, sent INTEGER NOT NULL DEFAULT 1,
            PRIMARY KEY (pair, annotator, shown, repeat)) WITHOUT ROWID""",
        """CREATE TABLE first_turns (
            prompt_hash TEXT NOT NULL, model TEXT NOT NULL, env TEXT NOT NULL,
            answer TEXT NOT NULL,
            tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, money REAL,
            requests INTEGER NOT NULL,
            created TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
            PRIMARY KEY (prompt_hash, model, env)) WITHOUT ROWID""",
    ],
]
"""Statements that lead from version n to n + 1; ``PRAGMA user_version`` says where a file is."""


def connect(path: Path) -> sqlite3.Connection:
    """Open a label store, creating or upgrading its tables.

    Raises:
        SenseiError: the file is not a label store, or comes from a newer version.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            path, timeout=60.0, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA foreign_keys = ON")
            _upgrade(connection, path)
        except BaseException:
            connection.close()
            raise
        return connection


def _upgrade(connection: sqlite3.Connection, path: Path) -> None:
    if _version(connection) == len(MIGRATIONS):
        return
    with transaction(connection, path):
        version = _version(connection)  # again: another process may have been faster
        if version > len(MIGRATIONS):
            raise SenseiError(
                f"{path} was written by a newer sensei (labels version {version}, this one reads "
                f"{len(MIGRATIONS)}): update sensei"
            )
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _version(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA user_version").fetchone()[0]


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection, path: Path) -> Iterator[sqlite3.Connection]:
    """Run statements as one write: all of them happen or none, also under kill -9."""
    with explained(path):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            if connection.in_transaction:  # a full disk has already rolled it back
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the database's failures into one line with a remedy."""
    try:
        yield
    except sqlite3.IntegrityError:
        raise
    except sqlite3.OperationalError as error:
        remedy = {
            "full": "free some space",
            "locked": "another command is writing; wait for it",
            "readonly": "make the file writable",
            "unable to open": "check that the folder exists and is writable",
        }
        advice = next((r for k, r in remedy.items() if k in str(error)), "check the file")
        raise SenseiError(f"labels in {path}: {error}; {advice}, then run again") from error
    except sqlite3.DatabaseError as error:
        raise SenseiError(
            f"{path} is not a readable label store ({error}): restore it or choose another --dir"
        ) from error
