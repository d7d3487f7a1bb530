//! Digests and randomness: `ngx.md5` and its like, and what `resty.sha256` and its like stand on.

use std::rc::Rc;

use md5::Md5;
use mlua::{Lua, LuaString, Table, UserData, UserDataMethods};
use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use sha1::Sha1;
use sha2::{
    Sha224, Sha256, Sha384, Sha512,
    digest::{Digest, DynDigest},
};

use super::codec::{hex_text, own_text};
use crate::{
    bind,
    raw::{Args, Out, Outcome},
    state::State,
};

/// The most random bytes that are given at once.
const RANDOM_MAX: f64 = 1_048_576.0;

/// Puts the functions into the table `ngx`, and those of other modules into `native`.
///
/// # Errors
/// If there is no memory.
pub(super) fn register(state: &State, ngx: &Table, native: &Table) -> mlua::Result<()> {
    let md5 = |args: &Args<'_>| Md5::digest(own_text(args, 1));
    ngx.set("md5", bind::fast(state, move |args| Outcome::One(hex_text(&md5(args)).into()))?)?;
    ngx.set("md5_bin", bind::fast(state, move |args| bytes(&md5(args)))?)?;
    let sha1 = |args: &Args<'_>| bytes(&Sha1::digest(own_text(args, 1)));
    ngx.set("sha1_bin", bind::fast(state, sha1)?)?;
    ngx.set("hmac_sha1", bind::fast(state, hmac_sha1)?)?;
    native.set("digest", bind::fast(state, digest)?)?;
    native.set("hmac", bind::fast(state, any_hmac)?)?;
    native.set("uuid", bind::fast(state, |_| Outcome::One(uuid().into()))?)?;
    let random = Rc::new(SystemRandom::new());
    let own = random.clone();
    native.set("random", bind::fast(state, move |args| some_random(&own, args))?)?;
    native.set("random_below", bind::fast(state, move |args| random_below(&random, args))?)?;
    native.set("hasher", state.lua.create_function(|_, name: String| Ok(Hasher::new(&name)))?)
}

fn bytes(digest: &[u8]) -> Outcome {
    Outcome::One(Out::Owned(digest.to_vec()))
}

fn uuid() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// An algorithm by its name, as OpenSSL writes it.
fn algorithm(name: &str) -> Option<Box<dyn DynDigest>> {
    Some(match name.to_ascii_lowercase().replace('-', "").as_str() {
        "md5" => Box::new(Md5::default()),
        "sha1" => Box::new(Sha1::default()),
        "sha224" => Box::new(Sha224::default()),
        "sha256" => Box::new(Sha256::default()),
        "sha384" => Box::new(Sha384::default()),
        "sha512" => Box::new(Sha512::default()),
        _ => return None,
    })
}

fn unknown(name: &str) -> Outcome {
    Outcome::nil(format!("invalid digest type \"{name}\""))
}

/// (algorithm, text): the digest's bytes.
fn digest(args: &Args<'_>) -> Outcome {
    let name = args.text(1).unwrap_or_default();
    let Some(mut hasher) = algorithm(name) else { return unknown(name) };
    hasher.update(&own_text(args, 2));
    bytes(&hasher.finalize())
}

fn hmac_sha1(args: &Args<'_>) -> Outcome {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &own_text(args, 1));
    bytes(hmac::sign(&key, &own_text(args, 2)).as_ref())
}

/// (algorithm, key, text): RFC 2104.
fn any_hmac(args: &Args<'_>) -> Outcome {
    let name = args.text(1).unwrap_or_default();
    let Some(mut hasher) = algorithm(name) else { return unknown(name) };
    let block = if matches!(hasher.output_size(), 48 | 64) { 128 } else { 64 };
    let mut key = own_text(args, 2);
    if key.len() > block {
        hasher.update(&key);
        key = hasher.finalize_reset().to_vec();
    }
    key.resize(block, 0);
    let pad = |with: u8| key.iter().map(|byte| byte ^ with).collect::<Vec<u8>>();
    hasher.update(&pad(0x36));
    hasher.update(&own_text(args, 3));
    let inner = hasher.finalize_reset();
    hasher.update(&pad(0x5c));
    hasher.update(&inner);
    bytes(&hasher.finalize())
}

fn some_random(random: &SystemRandom, args: &Args<'_>) -> Outcome {
    let count = args.number(1).unwrap_or_default();
    if !(0.0..=RANDOM_MAX).contains(&count) {
        return Outcome::nil("bad number of random bytes");
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    let mut bytes = vec![0; count as usize];
    match random.fill(&mut bytes) {
        Ok(()) => Outcome::One(Out::Owned(bytes)),
        Err(_) => Outcome::nil("the system has no random bytes"),
    }
}

/// A whole number below the one given.
fn random_below(random: &SystemRandom, args: &Args<'_>) -> Outcome {
    let mut bytes = [0; 8];
    if random.fill(&mut bytes).is_err() {
        return Outcome::Raise("the system has no random bytes".to_owned());
    }
    // 53 bits are what a double holds.
    #[expect(clippy::cast_precision_loss, reason = "exact below 2^53")]
    let part = (u64::from_ne_bytes(bytes) >> 11) as f64 / (1_u64 << 53) as f64;
    Outcome::One((part * args.number(1).unwrap_or(1.0)).floor().into())
}

/// A digest that is fed piece by piece.
struct Hasher(Box<dyn DynDigest>);

impl Hasher {
    fn new(name: &str) -> Option<Hasher> {
        algorithm(name).map(Hasher)
    }
}

impl UserData for Hasher {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method_mut("update", |_, hasher, text: LuaString| {
            hasher.0.update(&text.as_bytes());
            Ok(())
        });
        methods.add_method_mut("reset", |_, hasher, ()| {
            hasher.0.reset();
            Ok(())
        });
        methods.add_method_mut("final", |lua: &Lua, hasher, ()| {
            lua.create_string(hasher.0.finalize_reset())
        });
    }
}
