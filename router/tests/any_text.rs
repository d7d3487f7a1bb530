//! Paths and expressions made of their parts by chance, from a fixed seed: whatever comes is taken
//! or refused, never a panic, and what is normal stays as it is.

use silverback_model::entities::Protocol;
use silverback_router::{expressions, normalize};

/// How many texts of each kind: a few seconds.
const TEXTS: usize = 200_000;

/// A generator of numbers that is the same in every run (xorshift64*).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }

    fn text(&mut self, parts: &[&str], count: usize) -> String {
        (0..self.below(count)).map(|_| parts[self.below(parts.len())]).collect()
    }
}

#[test]
fn a_normal_path_is_normal() {
    const PARTS: [&str; 24] = [
        "/", "/", "//", ".", "..", "/./", "/../", "%2e", "%2F", "%2f", "%41", "%7e", "%", "%4",
        "%zz", "%00", "%25", "%c3%a9", "%C3", "é", "a", "b c", ";", "?",
    ];
    let mut chance = Chance(0x5117_e12b_ac4b_0002);
    let mut taken = 0;
    for _ in 0..TEXTS {
        let path = format!("/{}", chance.text(&PARTS, 10));
        let Ok(once) = normalize(&path) else { continue };
        taken += 1;
        assert!(once.starts_with('/') && !once.contains("//"), "{path:?}: {once:?}");
        assert!(!once.split('/').any(|part| part == "." || part == ".."), "{path:?}: {once:?}");
        // What is still escaped is no slash, dot or letter in another guise.
        let again = normalize(&once).unwrap();
        assert_eq!(again, once, "{path:?}");
    }
    assert!(taken > TEXTS / 20, "{taken}");
}

#[test]
fn any_expression_is_taken_or_refused() {
    const PARTS: [&str; 30] = [
        "http.path",
        "http.host",
        "http.method",
        "http.headers.x",
        "http.queries.a",
        "net.src.ip",
        "net.dst.port",
        "tls.sni",
        " == ",
        " != ",
        " ^= ",
        " =^ ",
        " ~ ",
        " in ",
        " contains ",
        " && ",
        " || ",
        "!",
        "(",
        ")",
        "lower(",
        "\"a\"",
        "r#\"^/a.*\"#",
        "\"(\"",
        "80",
        "10.0.0.0/8",
        "::1",
        "\\",
        "é",
        " ",
    ];
    let mut chance = Chance(0x5117_e12b_ac4b_0003);
    let mut taken = 0;
    for _ in 0..TEXTS / 10 {
        let known = ["http.path == \"a\"", "net.src.ip in 10.0.0.0/8", "http.path ~ \"^/a\""];
        let mut text = chance.text(&PARTS, 8);
        if chance.below(2) == 0 {
            text = format!("{} && {}{text}", known[chance.below(3)], known[chance.below(3)]);
        }
        taken += usize::from(expressions::validate(&text, &[Protocol::Http]).is_ok());
        let _ = expressions::validate(&text, &[Protocol::Tcp]);
    }
    assert!(taken > 100, "{taken}");
}
