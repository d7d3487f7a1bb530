//! A real PgBouncer, Debian's, that shares few connections among many clients: each transaction
//! may get another.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::gateway::free_port;
use crate::postgres::{PASSWORD, Postgres, USER, as_postgres};
use crate::wait::wait_until;

/// A pooler in transaction mode. Dropping it ends it.
pub struct Pooler {
    folder: PathBuf,
    port: u16,
    child: Child,
}

impl Pooler {
    /// A pooler before a server.
    pub fn before(server: &Postgres) -> Pooler {
        let port = free_port();
        let folder = server.socket_folder().join(format!("pooler-{port}"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("users"), format!("\"{USER}\" \"{PASSWORD}\"\n")).unwrap();
        let place = folder.display();
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\npool_mode = transaction\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = plain\n\
             auth_file = {place}/users\ndefault_pool_size = 3\n",
            server.port()
        );
        let file = folder.join("pgbouncer.ini");
        fs::write(&file, settings).unwrap();
        let mut command = Command::new("env");
        command.args(as_postgres()).arg("pgbouncer").arg(&file).current_dir("/");
        let log = fs::File::create(folder.join("log")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let pooler = Pooler { folder, port, child: child.unwrap() };
        let answers = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        wait_until(&format!("PgBouncer\n{}", pooler.log()), Duration::from_secs(60), answers);
        pooler
    }

    /// The port on the loopback address.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
