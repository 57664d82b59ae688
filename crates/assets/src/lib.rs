//! Model weights and data sets: catalog, sources, checksums, cache.
