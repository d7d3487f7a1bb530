//! Request bodies that a plugin server reads from a file: over `ProtoBuf:1` a body beyond
//! `client_body_buffer_size` is answered with a path, as nginx keeps such bodies in files.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use tokio::io::AsyncWriteExt;

/// A body in a file that only the gateway's user can read; it goes when this is dropped.
#[derive(Debug)]
pub(crate) struct BodyFile {
    path: PathBuf,
}

impl BodyFile {
    /// Writes a body to a new file in a directory.
    ///
    /// # Errors
    /// If the file can't be made or written, e.g. because the disk is full.
    pub(crate) async fn write(directory: &Path, body: &[u8]) -> io::Result<BodyFile> {
        let (kept, file) = BodyFile::create(directory)?;
        let mut file = tokio::fs::File::from_std(file);
        file.write_all(body).await?;
        // The last write goes on in the background: only a flush tells how it ended.
        file.flush().await?;
        Ok(kept)
    }

    fn create(directory: &Path) -> io::Result<(BodyFile, File)> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = directory.join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok((BodyFile { path }, file))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for BodyFile {
    fn drop(&mut self) {
        // One that is gone already is no harm.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_holds_the_body_until_it_is_let_go() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let body = vec![7; 3_000_000];
        let directory = std::env::temp_dir();
        let file = runtime.block_on(BodyFile::write(&directory, &body)).expect("a file");
        let path = file.path().to_owned();
        assert_eq!(fs::read(&path).expect("it can be read"), body);
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_directory_that_is_missing_is_an_error() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let error = runtime.block_on(BodyFile::write(Path::new("/no/such"), b"a"));
        assert_eq!(error.expect_err("no file").kind(), io::ErrorKind::NotFound);
    }
}
