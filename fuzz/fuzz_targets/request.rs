//! Whatever bytes a request has, reading them ends in an answer: no panic, and no 500.
#![no_main]

use std::sync::LazyLock;

use actix_web::ResponseError;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    static REGISTRY: LazyLock<longhaul_model::Registry> = LazyLock::new(longhaul_test_management::registry);
    let now = chrono::DateTime::from_timestamp(1_800_000_000, 0).expect("a time");
    for read in longhaul_api::read_as_request(&REGISTRY, 1024 * 1024, body, now) {
        let status = read.err().map_or(202, |error| error.status_code().as_u16());
        assert!(status < 500, "answered {status}");
    }
});
