//! longhaul-benches
