//! longhaul-tests
