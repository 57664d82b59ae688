//! Tables and graph drawings of lumos.
