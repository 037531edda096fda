"""Exceptions of rdquant: one per kind, each also a built-in ValueError or RuntimeError."""

from __future__ import annotations

__all__ = [
    "BackendUnavailable",
    "CorruptFile",
    "InvalidArgument",
    "RdquantError",
    "Unsupported",
]


class RdquantError(Exception):
    """Base of all errors that rdquant raises on purpose."""


class InvalidArgument(RdquantError, ValueError):
    """An argument is outside what the function allows."""


class CorruptFile(RdquantError, ValueError):
    """A file or byte string does not follow its format."""


class Unsupported(RdquantError, RuntimeError):
    """A valid request that this version cannot serve; the message names what is missing."""


class BackendUnavailable(RdquantError, RuntimeError):
    """The inference backend asked for is not installed or does not run on this machine."""
