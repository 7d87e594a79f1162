"""Immutable Parquet with a manifest, and its loading into raw, exactly once."""
