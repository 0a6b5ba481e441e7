//! Benchmarks in a real cluster.
