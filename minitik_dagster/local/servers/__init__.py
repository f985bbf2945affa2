"""Embedded servers for development and tests: real ones, on loopback, gone when we are gone."""
