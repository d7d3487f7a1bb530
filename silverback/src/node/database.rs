//! From kong.conf to what the store needs to know of its database.

use std::{fs, sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use rustls::sign::CertifiedKey;
use silverback_model::set::Kinds;
use silverback_pdk::LogLevel;
use silverback_store::Store;
use silverback_store::postgres::{
    Bounds, Keeping, Password, Server, Settings, Tls, migrations::Own,
};

use super::{last_good, settings};
use crate::{conf::Conf, prefix::Prefix};

/// Opens the store of `database = postgres`. Where the database can't be reached, the node begins
/// with what is known of it: from the generation before, or else from the disk.
///
/// # Errors
/// If the tables are not ready, or the database can't be reached and nothing is known.
pub(crate) async fn open_postgres(
    conf: &Conf,
    prefix: &Prefix,
    kinds: &Arc<Kinds>,
    own_migrations: Vec<Own>,
    generation: Option<&Store>,
) -> Result<Store> {
    let mut settings = postgres(conf, &prefix.node_id(conf.node_id.as_deref())?)?;
    settings.own_migrations = own_migrations;
    let address = settings.primary.address();
    let generation = generation.filter(|store| store.address().as_ref() == Some(&address));
    let (before, notice) = match generation {
        Some(store) => (Some(last_good::of_store(store, kinds)), None),
        None => last_good::read(conf, prefix, &address, kinds),
    };
    let store = Store::postgres(settings, keeping(conf), Arc::clone(kinds), before).await;
    let store = store.map_err(|error| match error.is_unreachable() {
        true => anyhow!(
            "{error}; {}",
            notice.as_deref().unwrap_or("there is no last good configuration to start with")
        ),
        false => error.into(),
    })?;
    if let Some(trouble) = store.trouble() {
        let notice = notice.map(|notice| format!(" ({notice})")).unwrap_or_default();
        let text = format!("starting with the last good configuration: {trouble}{notice}");
        silverback_pdk::log(LogLevel::Err, "", &text);
    }
    Ok(store)
}

/// How long answers to look-ups are kept, and how many.
fn keeping(conf: &Conf) -> Keeping {
    let s = &conf.settings;
    let life = |key: &str| s.seconds(key).filter(|time| !time.is_zero());
    let found = life("db_cache_ttl");
    Keeping {
        found,
        nothing: s.seconds("db_cache_neg_ttl").map_or(found, |_| life("db_cache_neg_ttl")),
        stale: s.seconds("db_resurrect_ttl").unwrap_or_default(),
        bytes: usize::try_from(conf.mem_cache_size).unwrap_or(usize::MAX),
    }
}

/// The settings of `database = postgres`, for the node of this id.
///
/// # Errors
/// If the trusted certificates can't be read.
pub(crate) fn postgres(conf: &Conf, node_id: &str) -> Result<Settings> {
    let primary = server(conf)?;
    let replica = conf.settings.text("pg_ro_host").map(|_| replica(conf, &primary)).transpose()?;
    let seconds = |key: &str| conf.settings.seconds(key).unwrap_or_default();
    Ok(Settings {
        primary,
        replica,
        ttl_cleanup_interval: seconds("_debug_pg_ttl_cleanup_interval"),
        update_frequency: seconds("db_update_frequency"),
        update_propagation: seconds("db_update_propagation"),
        plugins: conf.plugins.clone(),
        own_migrations: Vec::new(),
        node_id: node_id.to_owned(),
    })
}

/// The server that `pg_*` describe.
///
/// # Errors
/// If the trusted certificates can't be read.
pub(crate) fn server(conf: &Conf) -> Result<Server> {
    let s = &conf.settings;
    Ok(Server {
        host: s.text_or_empty("pg_host"),
        port: port(conf, "pg_port").unwrap_or(5432),
        timeout: millis(conf, "pg_timeout").unwrap_or(Duration::from_secs(5)),
        user: s.text_or_empty("pg_user"),
        password: password(conf, "pg_password"),
        database: s.text_or_empty("pg_database"),
        schema: s.text_or_empty("pg_schema"),
        tls: tls(conf, s.is_on("pg_ssl"), s.is_on("pg_ssl_verify"))?,
        insists_on_tls: s.is_on("pg_ssl_required"),
        certificate: certificate(conf, "pg")?,
        pool: bounds(conf, "pg", Bounds::default()),
    })
}

/// What `pg_ro_*` leave out is as `pg_*` say.
fn replica(conf: &Conf, primary: &Server) -> Result<Server> {
    let s = &conf.settings;
    let text = |key: &str, other: &str| s.text(key).unwrap_or(other).to_owned();
    let is_on = |key: &str, other: &str| s.is_on(if s.is_given(key) { key } else { other });
    let (ssl, verify) = (is_on("pg_ro_ssl", "pg_ssl"), is_on("pg_ro_ssl_verify", "pg_ssl_verify"));
    Ok(Server {
        host: text("pg_ro_host", &primary.host),
        port: port(conf, "pg_ro_port").unwrap_or(primary.port),
        timeout: millis(conf, "pg_ro_timeout").unwrap_or(primary.timeout),
        user: text("pg_ro_user", &primary.user),
        password: password(conf, "pg_ro_password").or_else(|| primary.password.clone()),
        database: text("pg_ro_database", &primary.database),
        schema: text("pg_ro_schema", &primary.schema),
        tls: tls(conf, ssl, verify)?,
        insists_on_tls: is_on("pg_ro_ssl_required", "pg_ssl_required"),
        certificate: match s.is_given("pg_ro_ssl_cert") {
            true => certificate(conf, "pg_ro")?,
            false => primary.certificate.clone(),
        },
        pool: bounds(conf, "pg_ro", primary.pool),
    })
}

/// A password, which is read again where kong.conf refers to it.
fn password(conf: &Conf, key: &str) -> Option<Password> {
    let text = conf.settings.text(key)?.to_owned();
    Some(match conf.reread(key) {
        Some(again) => Password::read(text, again),
        None => text.into(),
    })
}

/// The bounds of a pool. Kong's are those of one worker; here all workers share one pool, and
/// there is a bound where Kong has none.
fn bounds(conf: &Conf, family: &str, default: Bounds) -> Bounds {
    let s = &conf.settings;
    let count = |name: &str| s.number(&format!("{family}_{name}")).map(|n| n as usize);
    let positive = |name: &str| count(name).filter(|n| *n > 0);
    let workers =
        conf.workers.or_else(|| std::thread::available_parallelism().ok().map(Into::into));
    let workers = workers.unwrap_or(1).max(1);
    let connections = positive("max_concurrent_queries").or(positive("pool_size"));
    let connections = connections.map_or(default.connections, |n| n * workers);
    Bounds {
        connections,
        idle: positive("pool_size").map_or(connections, |n| n * workers),
        idle_timeout: millis(conf, &format!("{family}_keepalive_timeout"))
            .filter(|time| !time.is_zero())
            .unwrap_or(default.idle_timeout),
        waiters: count("backlog").map_or(default.waiters, |n| n * workers),
        wait: millis(conf, &format!("{family}_semaphore_timeout")).unwrap_or(default.wait),
    }
}

fn port(conf: &Conf, key: &str) -> Option<u16> {
    conf.settings.number(key).map(|n| n as u16)
}

fn millis(conf: &Conf, key: &str) -> Option<Duration> {
    conf.settings.number(key).map(|n| Duration::from_millis(n as u64))
}

/// The certificate that the node shows the server.
fn certificate(conf: &Conf, family: &str) -> Result<Option<Arc<CertifiedKey>>> {
    let key = |name: &str| conf.settings.text(&format!("{family}_{name}"));
    let (own, key) = match (key("ssl_cert"), key("ssl_cert_key")) {
        (None, None) => return Ok(None),
        (Some(own), Some(key)) => (own, key),
        _ => bail!("{family}_ssl_cert and {family}_ssl_cert_key need each other"),
    };
    let read = |file: &str| {
        fs::read_to_string(file).with_context(|| format!("can't read {file} ({family}_ssl_cert)"))
    };
    let pair = silverback_tls::pair(&read(own)?, &read(key)?);
    pair.map(Some).map_err(|why| anyhow!("{own} and {key} ({family}_ssl_cert): {why}"))
}

fn tls(conf: &Conf, on: bool, verify: bool) -> Result<Tls> {
    if !on {
        return Ok(Tls::Off);
    }
    if !verify {
        return Ok(Tls::Unverified);
    }
    Ok(Tls::Verified(settings::trust(conf)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::LoadArgs;

    fn check(pairs: &[(&str, &str)], expect: impl FnOnce(Settings)) {
        let own = [("DATABASE", "postgres"), ("NGINX_WORKER_PROCESSES", "2")];
        let pairs = own.iter().chain(pairs);
        let env = pairs.map(|(k, v)| (format!("KONG_{k}"), (*v).to_owned())).collect();
        let args = LoadArgs { conf: Some("/dev/null".into()), env, ..LoadArgs::default() };
        let conf = Conf::load(&args).expect("a valid configuration").conf;
        expect(postgres(&conf, "node").expect("settings"));
    }

    #[test]
    fn a_server_is_described() {
        check(&[("PG_HOST", "db"), ("PG_PASSWORD", "x"), ("PG_TIMEOUT", "700")], |settings| {
            let server = settings.primary;
            assert_eq!((server.host.as_str(), server.port), ("db", 5432));
            assert_eq!(server.timeout, Duration::from_millis(700));
            assert!(settings.replica.is_none() && matches!(server.tls, Tls::Off));
            assert_eq!(format!("{server:?}"), "postgres://kong@db:5432/kong?schema=");
        });
    }

    #[test]
    fn a_replica_is_as_the_primary_where_nothing_is_said() {
        let pairs = [("PG_RO_HOST", "ro"), ("PG_USER", "u"), ("PG_SSL", "on"), ("PG_PORT", "1")];
        check(&pairs, |settings| {
            let replica = settings.replica.expect("a replica");
            let seen = (replica.host.as_str(), replica.user.as_str(), replica.port);
            assert_eq!(seen, ("ro", "u", 1));
            assert!(matches!(replica.tls, Tls::Unverified));
        });
    }

    #[test]
    fn bounds_are_those_of_all_workers() {
        let pairs = [
            ("PG_MAX_CONCURRENT_QUERIES", "5"),
            ("PG_POOL_SIZE", "3"),
            ("PG_BACKLOG", "7"),
            ("PG_SEMAPHORE_TIMEOUT", "10"),
        ];
        check(&pairs, |settings| {
            let pool = settings.primary.pool;
            assert_eq!((pool.connections, pool.idle, pool.waiters), (10, 6, 14));
            assert_eq!(pool.wait, Duration::from_millis(10));
        });
    }
}
