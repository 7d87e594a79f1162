"""The way back to the national portal: what to send, the outbox, reconciliation, the score explained."""
