"""Keeps personal data: a process of its own, with its own keys and database."""
