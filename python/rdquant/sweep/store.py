"""The results file: one SQLite database, one schema, rows that reports can read without computing anything."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import CorruptFile, InvalidArgument, MissingFile, RdquantError

__all__ = ["FILE", "SCHEMA", "Store"]

#: Version of the tables below. A change of them is a new version, and older files stay readable.
SCHEMA = 3
FILE = "results.sqlite"
_ADDED = ("real_bits REAL", "file_bytes INTEGER")  # columns of points that schemas 2 and 3 added

_TABLES = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE studies(
  id INTEGER PRIMARY KEY, model TEXT NOT NULL, model_fingerprint TEXT NOT NULL, data TEXT NOT NULL,
  data_fingerprint TEXT NOT NULL, model_summary TEXT NOT NULL, machine TEXT NOT NULL, options TEXT NOT NULL,
  created TEXT NOT NULL, UNIQUE(model_fingerprint, data_fingerprint));
CREATE TABLE points(
  id INTEGER PRIMARY KEY, study_id INTEGER NOT NULL REFERENCES studies(id), quantizer TEXT NOT NULL,
  family TEXT NOT NULL, options TEXT NOT NULL, bits INTEGER, scope TEXT NOT NULL, state TEXT NOT NULL,
  images INTEGER NOT NULL, entropy REAL NOT NULL, entropy_tables REAL, real_bits REAL, file_bytes INTEGER, cr REAL,
  re REAL, mse REAL, sqnr_db REAL, metrics TEXT NOT NULL, verdict TEXT, tolerance REAL,
  seconds REAL NOT NULL, created TEXT NOT NULL);
CREATE UNIQUE INDEX points_once ON points(study_id, options, scope, ifnull(bits, -1));
CREATE TABLE fits(
  study_id INTEGER NOT NULL REFERENCES studies(id), tensor TEXT NOT NULL, rank INTEGER NOT NULL,
  criterion TEXT NOT NULL, family TEXT NOT NULL, parameters TEXT NOT NULL, kl REAL, sse REAL, aic REAL, bic REAL,
  ks REAL);
CREATE TABLE histograms(
  study_id INTEGER NOT NULL REFERENCES studies(id), tensor TEXT NOT NULL, low REAL NOT NULL, high REAL NOT NULL,
  counts TEXT NOT NULL);
CREATE TABLE tensors(
  study_id INTEGER NOT NULL REFERENCES studies(id), position INTEGER NOT NULL, name TEXT NOT NULL,
  role TEXT NOT NULL, shape TEXT NOT NULL, count INTEGER NOT NULL, mean REAL, std REAL, min REAL, max REAL,
  kurtosis REAL);
"""


class Store:
    """A results file, opened for reading or, by one process at a time, for writing.

    Args:
        folder: where `results.sqlite` lies or is to be made; None: in memory only.
        write: take the file for writing. A second writer gets a clear InvalidArgument instead of mixed results; the
            claim ends with the process, however it ends.

    Raises:
        InvalidArgument: nothing there to read, or another sweep is writing.
        CorruptFile: the file is no results file, or of a newer schema.
    """

    def __init__(self, folder: Path | None, write: bool = False) -> None:
        self.folder = folder
        self.path = None if folder is None else folder / FILE
        self._claim: sqlite3.Connection | None = None
        self._made: list[Path] = []
        self.closed = False
        if self.path is None:
            self._db = sqlite3.connect(":memory:", check_same_thread=False)
        elif write:
            self._made = [p for p in (self.path, self.path.parent) if not p.exists()]
            self._claim = _claim(self.path)
            self._db = sqlite3.connect(self.path, timeout=30, check_same_thread=False)
        else:
            if not self.path.is_file():
                raise MissingFile(
                    f"{self.path}: there is no results file; a sweep into this folder makes one"
                )
            self._db = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=rw", uri=True, timeout=30)
        self._db.row_factory = sqlite3.Row
        try:
            with self._explained():
                self._open(write or self.path is None)
        except RdquantError:
            self.close()
            raise

    def _open(self, write: bool) -> None:
        known = {
            row["name"] for row in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
        if not known and write:
            self._db.executescript(
                f"BEGIN; {_TABLES} INSERT INTO meta VALUES ('schema', '{SCHEMA}'); COMMIT;"
            )
            return
        if "meta" not in known:
            raise CorruptFile(
                f"{self.path}: an SQLite file, but none of rdquant's results (table 'meta' is missing)"
            )
        row = self._db.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
        if row is None or not str(row["value"]).isdigit():
            raise CorruptFile(f"{self.path}: table 'meta' holds no schema version")
        if int(row["value"]) > SCHEMA:
            raise CorruptFile(
                f"{self.path}: written with schema {row['value']}; this version of rdquant reads up to {SCHEMA}. "
                "Update rdquant, or choose another folder."
            )
        if write and int(row["value"]) < SCHEMA:
            added = "".join(f"ALTER TABLE points ADD COLUMN {c}; " for c in _ADDED[int(row["value"]) - 1 :])
            self._db.executescript(
                f"BEGIN; {added}UPDATE meta SET value = '{SCHEMA}' WHERE key = 'schema'; COMMIT;"
            )

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns SQLite's errors into ours, with the file and what is kept."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            where = self.path or "results in memory"
            if "full" in str(error):
                message = f"{where}: no space left on the disk; all results stored before this one are kept"
                raise RdquantError(message) from error
            if isinstance(error, sqlite3.OperationalError):
                raise RdquantError(f"{where}: {error}") from error
            raise CorruptFile(f"{where}: not a readable results file ({error})") from error

    def rows(self, query: str, values: Iterable[Any] = ()) -> list[dict[str, Any]]:
        if self.closed:
            raise RdquantError(f"{self.path or 'results in memory'}: the study is closed")
        with self._explained():
            return [dict(row) for row in self._db.execute(query, tuple(values))]

    def insert(self, table: str, rows: Iterable[Mapping[str, Any]], replace: bool = False) -> int:
        """Adds rows in one transaction, safe on disk when this returns; gives the last row's id."""
        with self._explained(), self._db:
            return self._insert(table, rows, "INSERT OR REPLACE" if replace else "INSERT")

    def insert_study(self, row: Mapping[str, Any], facts: Mapping[str, list[dict[str, Any]]]) -> int:
        """Adds a study with the rows of its other tables, all or nothing; gives its id."""
        with self._explained(), self._db:
            study = self._insert("studies", [row], "INSERT")
            for table, rows in facts.items():
                self._insert(table, [{"study_id": study, **one} for one in rows], "INSERT")
        return study

    def set_latest(self, study: int) -> None:
        """Remember `study` as the one that was swept last."""
        self.insert("meta", [{"key": "latest", "value": str(study)}], replace=True)

    def latest(self) -> int | None:
        """The study that was swept last; None where nothing says."""
        found = self.rows("SELECT value FROM meta WHERE key = 'latest'")
        return int(found[0]["value"]) if found else None

    def given_labels(self, study: int) -> dict[str, str]:
        """Labels of the quantizers that were given as objects or functions, by what identifies these."""
        found = {}
        for row in self.rows("SELECT quantizer, options FROM points WHERE study_id = ?", (study,)):
            options = json.loads(row["options"])
            if "given" in options:
                found[options["given"]] = row["quantizer"]
        return found

    def update(self, table: str, row_id: int, values: Mapping[str, Any]) -> None:
        changes = ", ".join(f"{name} = ?" for name in values)
        with self._explained(), self._db:
            self._db.execute(f"UPDATE {table} SET {changes} WHERE id = ?", (*values.values(), row_id))

    def _insert(self, table: str, rows: Iterable[Mapping[str, Any]], verb: str) -> int:
        last = 0
        for row in rows:
            names = ", ".join(row)
            marks = ", ".join("?" * len(row))
            values = [json.dumps(v) if isinstance(v, (dict, list, tuple)) else v for v in row.values()]
            last = self._db.execute(f"{verb} INTO {table} ({names}) VALUES ({marks})", values).lastrowid or 0
        return last

    def give_up(self) -> None:
        """Close after a failure. Studies without any result are forgotten, and so is the file where it was made for them."""
        held = 1
        with contextlib.suppress(RdquantError):
            empty = "SELECT id FROM studies WHERE id NOT IN (SELECT study_id FROM points)"
            with self._explained(), self._db:
                for table in ("fits", "histograms", "tensors"):
                    self._db.execute(f"DELETE FROM {table} WHERE study_id IN ({empty})")
                self._db.execute(f"DELETE FROM studies WHERE id IN ({empty})")
            held = self.rows("SELECT count(*) AS held FROM studies")[0]["held"]
        self.close()
        if self.path is not None and self.path in self._made and not held:
            with contextlib.suppress(OSError):
                for file in (self.path, self.path.with_suffix(".lock")):
                    file.unlink(missing_ok=True)
                if self.path.parent in self._made:
                    self.path.parent.rmdir()  # only where nothing else has come into it

    def close(self) -> None:
        self.closed = True
        self._db.close()
        if self._claim is not None:
            self._claim.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _claim(path: Path) -> sqlite3.Connection:
    """An exclusive lock that the operating system drops when the process ends: a transaction on a file beside `path`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        claim = sqlite3.connect(
            path.with_suffix(".lock"), timeout=0.2, isolation_level=None, check_same_thread=False
        )
        claim.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise InvalidArgument(
                f"{path}: another sweep is writing to this file; wait for it, or choose another folder"
            ) from None
        raise RdquantError(f"{path}: cannot be written ({error})") from error
    except OSError as error:
        raise RdquantError(f"{path.parent}: not a folder that can be written ({error.strerror})") from error
    return claim
