//! One target, fed by libFuzzer: `fuzz/run TARGET [SECONDS]`.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{Corpus, fuzz_target};
use silverback_fuzz::{TARGETS, Target};

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|target| target.name == name);
    let names = TARGETS.map(|target| target.name).join(", ");
    found.unwrap_or_else(|| panic!("FUZZ_TARGET is to be one of {names}"))
});

fuzz_target!(|input: &[u8]| -> Corpus {
    (TARGET.feed)(input);
    Corpus::Keep
});
