//! The conformance scenarios, one test each: `cargo test --test conformance -- external-go`.

fn main() {
    silverback_e2e::conformance::main();
}
