//! Certificates and keys in PEM: whether they can be read, and whether they belong together.

use rustls::crypto::ring::sign::any_supported_type;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::is_reference;

/// What kind of key it is; a chain and its alternative differ in this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA.
    Rsa,
    /// Elliptic curves.
    Ec,
    /// Ed25519, Ed448 and others.
    Other,
}

/// A public key, by itself or of a private key or certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// What kind of key.
    pub kind: KeyKind,
    /// Its SubjectPublicKeyInfo in DER; `None` for kinds that can be read but not used.
    pub public: Option<Vec<u8>>,
}

/// What is asked of CA certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateInfo {
    /// The end of its validity, in seconds since 1970.
    pub not_after: i64,
    /// Whether it may sign certificates.
    pub is_ca: bool,
}

/// Certificates in PEM.
///
/// # Errors
/// If there is none that can be read.
pub fn certificate(pem: &str) -> Result<(), String> {
    with_certificate(pem, |_| ()).map_err(|error| format!("invalid certificate: {error}"))
}

/// A private key in PEM.
///
/// # Errors
/// If there is none that can be read.
pub fn key(pem: &str) -> Result<(), String> {
    private_key(pem).map(drop).map_err(|error| format!("invalid key: {error}"))
}

/// What is known of the first certificate; `None` if there is none.
pub fn certificate_info(pem: &str) -> Option<CertificateInfo> {
    with_certificate(pem, |certificate| CertificateInfo {
        not_after: certificate.validity().not_after.timestamp(),
        is_ca: certificate.is_ca(),
    })
    .ok()
}

/// The public key of the first certificate; `None` if there is none.
pub fn key_of_certificate(pem: &str) -> Option<Key> {
    with_certificate(pem, |certificate| from_spki(certificate.public_key().raw)).ok()
}

/// The SHA-256 of the first certificate, in hexadecimal; `None` if there is none.
pub fn sha256_hex(pem: &str) -> Option<String> {
    let der = first_certificate(pem).ok()?;
    let digest = ring::digest::digest(&ring::digest::SHA256, &der);
    Some(digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Reads a private key.
///
/// # Errors
/// If there is none.
pub fn private_key(pem: &str) -> Result<Key, String> {
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| error.to_string())?;
    match any_supported_type(&der) {
        Ok(signer) => Ok(signer
            .public_key()
            .map_or(Key { kind: KeyKind::Other, public: None }, |spki| from_spki(spki.as_ref()))),
        // Curves that cannot be used here are keys all the same.
        Err(_) if der.secret_der().first() == Some(&0x30) && der.secret_der().len() > 16 => {
            Ok(Key { kind: KeyKind::Other, public: None })
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Reads a public key.
///
/// # Errors
/// If there is none.
pub fn public_key(pem: &str) -> Result<Key, String> {
    let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| error.to_string())?;
    x509_parser::x509::SubjectPublicKeyInfo::from_der(&der).map_err(|error| error.to_string())?;
    Ok(from_spki(&der))
}

/// Whether two keys are halves of one; `true` where that cannot be known.
pub fn matching_keys(a: &Key, b: &Key) -> bool {
    match (&a.public, &b.public) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    }
}

fn first_certificate(pem: &str) -> Result<CertificateDer<'static>, String> {
    if is_reference(pem) {
        return Err("a reference".to_owned());
    }
    // The wider label names the same structure.
    let pem = pem.replace(" TRUSTED CERTIFICATE-----", " CERTIFICATE-----");
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| error.to_string())
}

fn with_certificate<T>(
    pem: &str,
    read: impl FnOnce(&X509Certificate<'_>) -> T,
) -> Result<T, String> {
    let der = first_certificate(pem)?;
    let (_, certificate) = X509Certificate::from_der(&der).map_err(|error| error.to_string())?;
    Ok(read(&certificate))
}

/// The object identifiers, in DER, of rsaEncryption and id-ecPublicKey.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

fn from_spki(der: &[u8]) -> Key {
    let head = der.get(..32.min(der.len())).unwrap_or_default();
    let has = |oid: &[u8]| head.windows(oid.len()).any(|window| window == oid);
    let kind = if has(RSA) {
        KeyKind::Rsa
    } else if has(EC) {
        KeyKind::Ec
    } else {
        KeyKind::Other
    };
    Key { kind, public: Some(der.to_vec()) }
}
