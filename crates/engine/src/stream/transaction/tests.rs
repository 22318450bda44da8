//! Lives of transactions on plain values: whole or not at all, over restarts; zombies are fenced.
