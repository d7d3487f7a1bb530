//! The list itself, in the order of the reference.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::OnceLock,
};

use super::{
    Function, client, client_tls, cluster, ctx, ip, log, nginx, node, plugin, request, response,
    router, service, service_request, service_response, telemetry, vault,
};

/// The groups of functions, in the order of the reference.
static GROUPS: [&[Function]; 17] = [
    client::FUNCTIONS,
    client_tls::FUNCTIONS,
    cluster::FUNCTIONS,
    ctx::FUNCTIONS,
    ip::FUNCTIONS,
    log::FUNCTIONS,
    nginx::FUNCTIONS,
    node::FUNCTIONS,
    plugin::FUNCTIONS,
    request::FUNCTIONS,
    response::FUNCTIONS,
    router::FUNCTIONS,
    service::FUNCTIONS,
    service_request::FUNCTIONS,
    service_response::FUNCTIONS,
    telemetry::FUNCTIONS,
    vault::FUNCTIONS,
];

/// Every function, in the order of the reference.
pub fn all() -> impl Iterator<Item = &'static Function> {
    GROUPS.into_iter().flatten()
}

/// The function of that dotted name.
pub fn find(name: &str) -> Option<&'static Function> {
    type ByName = HashMap<&'static str, &'static Function, BuildHasherDefault<NameHasher>>;
    static BY_NAME: OnceLock<ByName> = OnceLock::new();
    let by_name = BY_NAME.get_or_init(|| all().map(|f| (f.name, f)).collect());
    by_name.get(name).copied()
}

/// Hashes names eight bytes at a time, which every call of a plugin does once. The names are ours:
/// nobody can choose them so that they collide.
#[derive(Default)]
struct NameHasher(u64);

impl NameHasher {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        words.iter().for_each(|word| self.mix(u64::from_le_bytes(*word)));
        self.mix(rest.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)));
    }

    /// The upper bits depend on most of the name, and the table goes by the lower ones.
    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }
}
