//! Whatever text is uploaded as a JUnit report, reading it ends, with nodes or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|report: &str| {
    // Each node costs its text a byte at least.
    if let Ok(nodes) = longhaul_test_management::read_as_report(report) {
        assert!(nodes <= report.len());
    }
});
