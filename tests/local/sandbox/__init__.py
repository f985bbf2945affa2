"""Tests of the platform sandbox, against the real process."""
