"""Speak to external systems; turn their answers into typed Arrow batches that satisfy a contract."""
