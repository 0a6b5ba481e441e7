//! Rig and interop tests.
