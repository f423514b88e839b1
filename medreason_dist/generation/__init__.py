"""Generation on Ray: which shards are left, the worker that does one, the Ray Data chain, its progress."""
