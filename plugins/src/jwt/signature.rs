//! How tokens are signed (RFC 7518, section 3; RFC 8037).

use p521::ecdsa::{VerifyingKey, signature::Verifier};
use ring::{hmac, signature as algorithms, signature::UnparsedPublicKey};
use silverback_model::schema::values;
use x509_parser::{prelude::FromDer, x509::SubjectPublicKeyInfo};

/// An algorithm, by what its keys are.
#[derive(Clone, Copy)]
pub(super) enum Algorithm {
    /// The key is a secret that both sides share.
    Hs(hmac::Algorithm),
    /// The key is public.
    Public(&'static Public),
    /// The key is public, and one of P-521, which ring has not.
    P521,
}

/// An algorithm whose keys are public.
pub(super) struct Public {
    name: &'static str,
    verification: &'static dyn algorithms::VerificationAlgorithm,
}

/// Those whose keys are public, but for ES512. RSA keys have 2048 bits at least, as RFC 7518 asks;
/// RS256 and RS512 take older keys of 1024 bits as well.
static PUBLIC: [Public; 9] = [
    Public {
        name: "RS256",
        verification: &algorithms::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
    },
    Public { name: "RS384", verification: &algorithms::RSA_PKCS1_2048_8192_SHA384 },
    Public {
        name: "RS512",
        verification: &algorithms::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
    },
    Public { name: "ES256", verification: &algorithms::ECDSA_P256_SHA256_FIXED },
    Public { name: "ES384", verification: &algorithms::ECDSA_P384_SHA384_FIXED },
    Public { name: "PS256", verification: &algorithms::RSA_PSS_2048_8192_SHA256 },
    Public { name: "PS384", verification: &algorithms::RSA_PSS_2048_8192_SHA384 },
    Public { name: "PS512", verification: &algorithms::RSA_PSS_2048_8192_SHA512 },
    Public { name: "EdDSA", verification: &algorithms::ED25519 },
];

impl std::fmt::Debug for Algorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for Algorithm {
    fn eq(&self, other: &Algorithm) -> bool {
        self.name() == other.name()
    }
}

impl Algorithm {
    /// The algorithm of that name, if there is one.
    pub(super) fn from_name(name: &str) -> Option<Algorithm> {
        match name {
            "HS256" => Some(Algorithm::Hs(hmac::HMAC_SHA256)),
            "HS384" => Some(Algorithm::Hs(hmac::HMAC_SHA384)),
            "HS512" => Some(Algorithm::Hs(hmac::HMAC_SHA512)),
            "ES512" => Some(Algorithm::P521),
            name => PUBLIC.iter().find(|public| public.name == name).map(Algorithm::Public),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Algorithm::Hs(algorithm) if algorithm == hmac::HMAC_SHA256 => "HS256",
            Algorithm::Hs(algorithm) if algorithm == hmac::HMAC_SHA384 => "HS384",
            Algorithm::Hs(_) => "HS512",
            Algorithm::Public(public) => public.name,
            Algorithm::P521 => "ES512",
        }
    }

    /// Whether the key has signed the message. A shared secret is compared in constant time.
    pub(super) fn verify(self, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        match self {
            Algorithm::Hs(algorithm) => {
                hmac::verify(&hmac::Key::new(algorithm, key), message, signature).is_ok()
            }
            Algorithm::Public(public) => {
                let key = UnparsedPublicKey::new(public.verification, key);
                key.verify(message, signature).is_ok()
            }
            Algorithm::P521 => is_by_p521(key, message, signature),
        }
    }
}

/// Whether a key of P-521 has signed the message, by SHA-512 (RFC 7518, section 3.4).
fn is_by_p521(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let key = VerifyingKey::from_sec1_bytes(key);
    let signature = p521::ecdsa::Signature::from_slice(signature);
    key.is_ok_and(|key| signature.is_ok_and(|signature| key.verify(message, &signature).is_ok()))
}

/// The bits of a public key in PEM, or of the public half of a private key.
pub(super) fn public_key(pem: &str) -> Option<Vec<u8>> {
    let key = values::public_key(pem).or_else(|_| values::private_key(pem)).ok()?.public?;
    let (_, info) = SubjectPublicKeyInfo::from_der(&key).ok()?;
    Some(info.subject_public_key.data.into_owned())
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use ring::{
        rand::SystemRandom,
        signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, RsaKeyPair},
    };
    use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject};

    use super::*;

    const MESSAGE: &[u8] = b"header.claims";

    fn pem(der: &[u8]) -> String {
        let text = STANDARD.encode(der);
        format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
    }

    /// What was signed with the private half is verified with the public one, and nothing else is.
    fn check(name: &str, pem: &str, signature: &[u8]) {
        let algorithm = Algorithm::from_name(name).unwrap();
        let key = public_key(pem).unwrap();
        assert!(algorithm.verify(&key, MESSAGE, signature), "{name}");
        assert!(!algorithm.verify(&key, b"header.other", signature), "{name}");
        assert!(!algorithm.verify(&key, MESSAGE, &signature[1..]), "{name}");
        assert!(!algorithm.verify(&key[1..], MESSAGE, signature), "{name}");
        for public in PUBLIC.iter().filter(|public| public.name != name) {
            let other = Algorithm::Public(public);
            assert!(!other.verify(&key, MESSAGE, signature), "{name} {other:?}");
        }
    }

    /// The RSA key of the conformance scenarios.
    fn throwaway_key() -> String {
        let keys = include_str!("../../../conformance/pems.json");
        let keys: serde_json::Value = serde_json::from_str(keys).unwrap();
        String::from_utf8(STANDARD.decode(keys["key5"].as_str().unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn elliptic_curves() {
        let random = SystemRandom::new();
        let ec = |name: &str, signing: &'static EcdsaSigningAlgorithm| {
            let der = EcdsaKeyPair::generate_pkcs8(signing, &random).unwrap();
            let pair = EcdsaKeyPair::from_pkcs8(signing, der.as_ref(), &random).unwrap();
            let signature = pair.sign(&random, MESSAGE).unwrap();
            check(name, &pem(der.as_ref()), signature.as_ref());
        };
        ec("ES256", &signature::ECDSA_P256_SHA256_FIXED_SIGNING);
        ec("ES384", &signature::ECDSA_P384_SHA384_FIXED_SIGNING);
        let der = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap();
        check("EdDSA", &pem(der.as_ref()), pair.sign(MESSAGE).as_ref());
        assert!(Algorithm::from_name("none").is_none());
    }

    /// Made by openssl. None of the libraries here has Ed448: nobody passes by it.
    #[test]
    fn ed448_is_refused() {
        let pem = "-----BEGIN PUBLIC KEY-----
MEMwBQYDK2VxAzoAwYGelE/xCobRpkjHw6WVp67sWWwPaeb05p2xXG/WLaZhwA39
Y4mN7qyZ4FQLdYzWkN9h31+p7YuA
-----END PUBLIC KEY-----
";
        let signature = "kYZMPnlIU4gOevd99RvQcqOE5Qtj6emA2d++YKPM/5wkw9GielH9v10RRBkCOQG5OXDrlnLG\
                         HlmAu6M63xQ3Te+mjDu/lHqZkABWVLYK1YG8+E6HuxecAFUzCN2o0UEYyZgeMxvfHeu8lHIA\
                         IiKOmgMA";
        let signature = STANDARD.decode(signature).unwrap();
        let key = public_key(pem).unwrap_or_default();
        assert!(!Algorithm::from_name("EdDSA").unwrap().verify(&key, MESSAGE, &signature));
    }

    /// Made by openssl.
    #[test]
    fn p521() {
        let pem = "-----BEGIN PUBLIC KEY-----
MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQA8wmtQwWyZvdgNDxrkIQKqO5Qba+I
/GTaj9jZaW8VvF5ZKHJXTvLxudxIH454pz/4phkSSKQFG4Vo04dJ9Ian/TkBjKRZ
41bgALhBkNuNKP4UhOyGyiCxtbD8GOwMEUWvA7v/O1RChWDQJZLPmFg6AE8Lf6jK
5LFayy2wOyOuTiRxfJM=
-----END PUBLIC KEY-----
";
        let signature = "AAPYOgogryJPSjwilZ+ZeVTsp69/qLNpkbfiyQotVUKuUYpDcfUpftroulvjzc+jH837n\
                         FfL1PJgHxKLW6pI7ZNUAUV1U+N/+cjUtWiZD8Fc92YLlzWGKn0RtpN5tFMtEyrFOTEene\
                         HaQJ5zZwtSDF7sr1zO17XF1v3TACcZnoGRlGHL";
        check("ES512", pem, &STANDARD.decode(signature).unwrap());
    }

    #[test]
    fn rsa() {
        let random = SystemRandom::new();
        let pem = throwaway_key();
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).unwrap();
        let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
        let sign = |name: &str, encoding: &'static dyn signature::RsaEncoding| {
            let mut signature = vec![0; pair.public().modulus_len()];
            pair.sign(encoding, &random, MESSAGE, &mut signature).unwrap();
            check(name, &pem, &signature);
        };
        sign("RS256", &signature::RSA_PKCS1_SHA256);
        sign("RS384", &signature::RSA_PKCS1_SHA384);
        sign("RS512", &signature::RSA_PKCS1_SHA512);
        sign("PS256", &signature::RSA_PSS_SHA256);
        sign("PS384", &signature::RSA_PSS_SHA384);
        sign("PS512", &signature::RSA_PSS_SHA512);
    }
}
