//! Names of attributes, elements and operations.
