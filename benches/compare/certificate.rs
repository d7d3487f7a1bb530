//! The certificate that all contenders share.

use std::fs;
use std::path::Path;

use anyhow::Result;

/// Writes `cert.pem`, `key.pem`, and both in `both.pem`, as haproxy wants them: ECDSA with P-256,
/// so that the few handshakes of a run weigh little.
pub(crate) fn write(directory: &Path) -> Result<()> {
    let pair = rcgen::generate_simple_self_signed(["bench.test".to_owned()])?;
    let (cert, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    fs::write(directory.join("both.pem"), format!("{cert}{key}"))?;
    fs::write(directory.join("cert.pem"), cert)?;
    fs::write(directory.join("key.pem"), key)?;
    Ok(())
}
