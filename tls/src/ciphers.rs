//! Ciphers by the names that OpenSSL has for them.

use rustls::{CipherSuite, SupportedCipherSuite, crypto::ring};

/// Ciphers of TLS 1.2, in the order in which they are preferred. Those of TLS 1.3 are always
/// there: OpenSSL's cipher strings don't speak of them either.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Choice {
    suites: Vec<CipherSuite>,
    /// Entries that name nothing that is there: ciphers without forward secrecy, for one.
    pub missing: Vec<String>,
}

impl Choice {
    /// What the entries of a cipher string choose (`man openssl-ciphers`): names, groups of them
    /// joined by `+`, with `!` or `-` what is taken out, with `+` what goes to the end.
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a str>) -> Choice {
        let mut choice = Choice::default();
        let mut banned = Vec::new();
        for entry in entries {
            let (mark, words) = match entry.split_at_checked(1) {
                Some((mark @ ("!" | "-" | "+"), words)) => (mark, words),
                // Sorting, and levels of security: all there are have 128 bits or more.
                Some(("@", _)) => continue,
                _ => ("", entry),
            };
            let named: Vec<CipherSuite> =
                all().filter(|suite| words.split('+').all(|word| is(*suite, word))).collect();
            if mark.is_empty() && named.is_empty() {
                choice.missing.push(entry.to_owned());
            }
            match mark {
                "" => {
                    let fresh = |suite: &CipherSuite| {
                        !choice.suites.contains(suite) && !banned.contains(suite)
                    };
                    let fresh: Vec<_> = named.into_iter().filter(fresh).collect();
                    choice.suites.extend(fresh);
                }
                "+" => {
                    let (last, first) = choice.suites.iter().partition(|s| named.contains(s));
                    let (last, first): (Vec<_>, Vec<_>) = (last, first);
                    choice.suites = first.into_iter().chain(last).collect();
                }
                _ => {
                    choice.suites.retain(|suite| !named.contains(suite));
                    if mark == "!" {
                        banned.extend(named);
                    }
                }
            }
        }
        choice
    }

    /// Their names.
    pub fn names(&self) -> Vec<String> {
        self.suites.iter().map(|suite| openssl_name(*suite).to_owned()).collect()
    }

    /// Whether no cipher of TLS 1.2 is chosen.
    pub fn is_empty(&self) -> bool {
        self.suites.is_empty()
    }

    pub(crate) fn suites(&self) -> impl Iterator<Item = SupportedCipherSuite> {
        let all = ring::ALL_CIPHER_SUITES;
        self.suites.iter().filter_map(|name| all.iter().find(|s| s.suite() == *name).copied())
    }
}

/// Those of TLS 1.2 that there are, the best first.
fn all() -> impl Iterator<Item = CipherSuite> {
    let all = ring::ALL_CIPHER_SUITES.iter();
    all.filter(|suite| suite.tls13().is_none()).map(SupportedCipherSuite::suite)
}

/// Whether a word of a cipher string means this suite, by name or by what it is made of.
fn is(suite: CipherSuite, word: &str) -> bool {
    let name = openssl_name(suite);
    match word {
        "ALL" | "DEFAULT" | "COMPLEMENTOFDEFAULT" | "HIGH" | "TLSv1.2" => true,
        "ECDHE" | "EECDH" | "kECDHE" | "kEECDH" | "ECDH" => true,
        "ECDSA" | "aECDSA" => name.contains("-ECDSA-"),
        "aRSA" => name.contains("-RSA-"),
        "AES" | "AESGCM" | "FIPS" => name.contains("-AES"),
        "AES128" | "AES256" => name.contains(word),
        "CHACHA20" => name.contains(word),
        _ => name == word,
    }
}

/// A suite as OpenSSL calls it; empty for those that are not there.
pub fn openssl_name(suite: CipherSuite) -> &'static str {
    use CipherSuite as Suite;
    match suite {
        Suite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        Suite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        Suite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        Suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        Suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-ECDSA-CHACHA20-POLY1305",
        Suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        Suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        Suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_choose_as_in_openssl() {
        let check = |text: &str, expect: &[&str], missing: &[&str]| {
            let choice = Choice::of(text.split(':'));
            assert_eq!(choice.names(), expect, "{text}");
            assert_eq!(choice.missing, missing, "{text}");
        };
        check(
            "ECDHE-RSA-AES128-GCM-SHA256:AES128-SHA:ECDHE-ECDSA-CHACHA20-POLY1305",
            &["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"],
            &["AES128-SHA"],
        );
        check(
            "HIGH:!aNULL:!aECDSA:!CHACHA20:@STRENGTH",
            &["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256"],
            &[],
        );
        check(
            "TLSv1.2+FIPS:kRSA+FIPS:!eNULL:!aNULL:!RSA:-aECDSA",
            &["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256"],
            &["kRSA+FIPS"],
        );
        check(
            "EECDH+aRSA:+AESGCM:!AES256",
            &["ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-RSA-AES128-GCM-SHA256"],
            &[],
        );
        check("!AES:ALL:-ALL:AES128", &[], &[]);
        check("RC4", &[], &["RC4"]);
    }
}
