//! Where entities live and how long they are cached.

use super::Effect::{Ignored, Used};
use super::Kind::{Boolean, Enum, List, Number, Path, Size, Text};
use super::{ANY_FROM_0, FROM_0, Key, PORT, k};

const NO_LMDB: super::Effect = Ignored("there is no LMDB here");

/// The words of `database` that are known.
static DATABASES: &[&str] = &["off", "sqlite", "postgres"];

#[rustfmt::skip]
pub(super) static DATASTORE: &[Key] = &[
    k("database", Enum(DATABASES), "sqlite", Used,
      "Where entities are kept; `pg_*` mean `postgres`, `declarative_config` means `off`."),
    k("sqlite_file", Path, "silverback.db", Used,
      "The file of `database = sqlite`, under the prefix unless absolute."),
    k("pg_host", Text, "127.0.0.1", Used, "Host of the Postgres server."),
    k("pg_port", Number(&PORT), "5432", Used, "Port of the Postgres server."),
    k("pg_timeout", Number(&ANY_FROM_0), "5000", Used,
      "Longest wait for connecting, sending and reading, in ms."),
    k("pg_user", Text, "kong", Used, "Postgres user."),
    k("pg_password", Text, "", Used, "The Postgres user's password."),
    k("pg_database", Text, "kong", Used, "Name of the Postgres database."),
    k("pg_schema", Text, "", Used, "Schema in the database; the user's default unless set."),
    k("pg_ssl", Boolean, "off", Used, "Whether the connection is encrypted."),
    k("pg_ssl_verify", Boolean, "off", Used, "Whether the server's certificate is verified."),
    k("pg_ssl_required", Boolean, "on", Used,
      "Whether `pg_ssl` insists: `off` goes on in the clear where the server has no TLS, as Kong."),
    k("pg_ssl_cert", Path, "", Used, "Certificate of the node for the Postgres server, in PEM."),
    k("pg_ssl_cert_key", Path, "", Used, "The key of `pg_ssl_cert`."),
    k("pg_max_concurrent_queries", Number(&FROM_0), "0", Used,
      "Most queries at a time per worker; 0 is no limit."),
    k("pg_semaphore_timeout", Number(&FROM_0), "60000", Used,
      "Longest wait for a turn under that limit, in ms."),
    k("pg_keepalive_timeout", Number(&FROM_0), "", Used,
      "Time after which an idle connection is closed, in ms."),
    k("pg_pool_size", Number(&FROM_0), "", Used, "Most pooled connections."),
    k("pg_backlog", Number(&FROM_0), "", Used, "Most waiters for a pooled connection."),
    k("_debug_pg_ttl_cleanup_interval", Number(&ANY_FROM_0), "300", Used,
      "Seconds between removals of expired rows."),
    k("pg_ro_host", Text, "", Used, "Host of a read-only replica; its settings follow."),
    k("pg_ro_port", Number(&PORT), "", Used, "As `pg_port`, which is its default."),
    k("pg_ro_timeout", Number(&ANY_FROM_0), "", Used, "As `pg_timeout`."),
    k("pg_ro_user", Text, "", Used, "As `pg_user`."),
    k("pg_ro_password", Text, "", Used, "As `pg_password`."),
    k("pg_ro_database", Text, "", Used, "As `pg_database`."),
    k("pg_ro_schema", Text, "", Used, "As `pg_schema`."),
    k("pg_ro_ssl", Boolean, "", Used, "As `pg_ssl`."),
    k("pg_ro_ssl_verify", Boolean, "", Used, "As `pg_ssl_verify`."),
    k("pg_ro_ssl_required", Boolean, "", Used, "As `pg_ssl_required`."),
    k("pg_ro_ssl_cert", Path, "", Used, "As `pg_ssl_cert`."),
    k("pg_ro_ssl_cert_key", Path, "", Used, "As `pg_ssl_cert_key`."),
    k("pg_ro_max_concurrent_queries", Number(&FROM_0), "", Used,
      "As `pg_max_concurrent_queries`."),
    k("pg_ro_semaphore_timeout", Number(&FROM_0), "", Used, "As `pg_semaphore_timeout`."),
    k("pg_ro_keepalive_timeout", Number(&FROM_0), "", Used, "As `pg_keepalive_timeout`."),
    k("pg_ro_pool_size", Number(&FROM_0), "", Used, "As `pg_pool_size`."),
    k("pg_ro_backlog", Number(&FROM_0), "", Used, "As `pg_backlog`."),
    k("last_good_credentials", Boolean, "on", Used,
      "Whether consumers and credentials that were used last are kept in a file under the prefix, \
       for a start without the database."),
    k("declarative_config", Path, "", Used,
      "Declarative configuration (YAML or JSON) that `database = off` starts with."),
    k("declarative_config_string", Text, "", Used, "The same, as text."),
    k("lmdb_environment_path", Path, "dbless.lmdb", NO_LMDB, "Directory of Kong's LMDB files."),
    k("lmdb_map_size", Size, "2048m", NO_LMDB, "Largest size of Kong's LMDB files."),
];

#[rustfmt::skip]
pub(super) static CACHE: &[Key] = &[
    k("db_update_frequency", Number(&ANY_FROM_0), "5", Used,
      "Seconds between looks for changes made by other nodes."),
    k("db_update_propagation", Number(&ANY_FROM_0), "0", Used,
      "Seconds that a change may take to reach all replicas of the database."),
    k("db_cache_ttl", Number(&ANY_FROM_0), "0", Used,
      "Seconds that entities stay cached; 0 is until they change."),
    k("db_cache_neg_ttl", Number(&ANY_FROM_0), "", Used,
      "Seconds that the absence of an entity stays cached; as `db_cache_ttl` unless set."),
    k("db_resurrect_ttl", Number(&ANY_FROM_0), "30", Used,
      "Seconds that stale entities serve on when the database is gone."),
    k("db_cache_warmup_entities", List, "services", Used,
      "Kinds of entities that are cached at start."),
];
