//! Every target with its corpus, and with what can be made of that by chance.

#![expect(clippy::unwrap_used, reason = "a test may end where it fails")]

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use silverback_fuzz::{Corpus, Mutator, TARGETS, Target, escaped};

/// How long each target is fed where `FUZZ_SECONDS` does not say.
const SECONDS: u64 = 10;
/// How long an input may be.
const INPUT_MAX: usize = 512;

/// Feeds a target, and says with what where it is wrong.
fn feed(target: &Target, input: &[u8]) -> bool {
    catch_unwind(AssertUnwindSafe(|| (target.feed)(input))).unwrap_or_else(|panic| {
        let name = target.name;
        eprintln!("\nthe input, a line for fuzz/corpus/{name}.txt:\n{}\n", escaped(input));
        resume_unwind(panic)
    })
}

fn check(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let inputs = Corpus::read(name).unwrap().inputs;
    let taken = inputs.iter().filter(|input| feed(target, input)).count();
    assert!(taken > 0 && taken < inputs.len(), "{taken} of {} are taken", inputs.len());
    let seconds = std::env::var("FUZZ_SECONDS").ok();
    let seconds = seconds.map_or(SECONDS, |seconds| seconds.parse().unwrap());
    let end = Instant::now() + Duration::from_secs(seconds);
    // Another one each time: what one run does not find, the next may.
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let mut mutator = Mutator::new(seed as u64, target.words);
    let mut fed = 0;
    while Instant::now() < end {
        feed(target, &mutator.input(&inputs, INPUT_MAX));
        fed += 1;
    }
    println!("{name}: {taken} of {} taken, {fed} more fed", inputs.len());
}

#[test]
fn requests() {
    check("requests");
}

#[test]
fn responses() {
    check("responses");
}

#[test]
fn chunks() {
    check("chunks");
}

#[test]
fn routes() {
    check("routes");
}

#[test]
fn paths() {
    check("paths");
}

#[test]
fn expressions() {
    check("expressions");
}

#[test]
fn declarative() {
    check("declarative");
}
