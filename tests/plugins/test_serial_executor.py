"""The serial executor, reference for all others, satisfies the conformance suite."""

from __future__ import annotations

from gradloom.testing.executors import ExecutorConformance


class TestSerial(ExecutorConformance):
    scheduler = "serial"
