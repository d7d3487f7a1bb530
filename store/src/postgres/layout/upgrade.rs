//! From the tables of Kong 3.0 to those of 3.10: what each migration since then changes in what is
//! there already. What it adds (tables, indexes, triggers, functions) stands in the layout itself,
//! which is run after these and changes nothing that is as it should be.

/// What a migration changes.
#[derive(Debug)]
pub(in crate::postgres) struct Upgrade {
    /// The migration's subsystem and name.
    pub(in crate::postgres) of: (&'static str, &'static str),
    /// What `up` does: nodes of the older version can go on beside it. Run again it changes
    /// nothing.
    pub(in crate::postgres) up: &'static str,
    /// What `finish` does, when there are none of them any more; nothing for most.
    pub(in crate::postgres) finish: &'static str,
}

/// What a migration changes; none if it is of before Kong 3.0.
pub(in crate::postgres) fn upgrade(subsystem: &str, name: &str) -> Option<&'static Upgrade> {
    UPGRADES.iter().find(|upgrade| upgrade.of == (subsystem, name))
}

const fn adds(subsystem: &'static str, name: &'static str) -> Upgrade {
    changes(subsystem, name, "")
}

const fn changes(subsystem: &'static str, name: &'static str, up: &'static str) -> Upgrade {
    Upgrade { of: (subsystem, name), up, finish: "" }
}

/// Settings of Redis beside others, `redis_host`, become a record of their own.
macro_rules! redis_record {
    ($plugin:literal, $name:literal) => {
        Upgrade {
            of: ($plugin, $name),
            up: concat!(
                "UPDATE plugins SET config = config || jsonb_build_object('redis', ",
                "coalesce(nullif(config -> 'redis', 'null'), '{}') || ",
                "(SELECT jsonb_object_agg(f, coalesce(config -> ('redis_' || f), ",
                "config -> 'redis' -> f)) FROM unnest(array['host', 'port', 'password', ",
                "'username', 'ssl', 'ssl_verify', 'server_name', 'timeout', 'database']) f)) ",
                "WHERE name = '",
                $plugin,
                "';"
            ),
            finish: concat!(
                "UPDATE plugins SET config = config - array['redis_host', 'redis_port', ",
                "'redis_password', 'redis_username', 'redis_ssl', 'redis_ssl_verify', ",
                "'redis_server_name', 'redis_timeout', 'redis_database'] WHERE name = '",
                $plugin,
                "';"
            ),
        }
    };
}

/// A column for the time of the last change, exact to so many digits of a second.
macro_rules! updated_at {
    ($table:literal, $digits:literal) => {
        concat!(
            "ALTER TABLE ",
            $table,
            " ADD COLUMN IF NOT EXISTS updated_at TIMESTAMP WITH TIME ZONE ",
            "DEFAULT (CURRENT_TIMESTAMP(",
            $digits,
            ") AT TIME ZONE 'UTC'); "
        )
    };
}

/// Every migration since Kong 3.0 (kong/db/migrations/core/017* and later,
/// kong/plugins/*/migrations).
static UPGRADES: &[Upgrade] = &[
    changes(
        "core",
        "017_300_to_310",
        "ALTER TABLE upstreams ADD COLUMN IF NOT EXISTS use_srv_name BOOLEAN DEFAULT false;",
    ),
    changes(
        "core",
        "018_310_to_320",
        "ALTER TABLE plugins ADD COLUMN IF NOT EXISTS instance_name TEXT, \
         DROP CONSTRAINT IF EXISTS plugins_ws_id_instance_name_unique, \
         ADD CONSTRAINT plugins_ws_id_instance_name_unique UNIQUE (ws_id, instance_name);",
    ),
    changes("core", "019_320_to_330", UPDATED_AT),
    changes("core", "020_330_to_340", "DROP TABLE IF EXISTS ttls;"),
    changes(
        "core",
        "021_340_to_350",
        "ALTER TABLE clustering_data_planes ADD COLUMN IF NOT EXISTS labels JSONB;",
    ),
    changes(
        "core",
        "022_350_to_360",
        "ALTER TABLE clustering_data_planes ADD COLUMN IF NOT EXISTS cert_details JSONB;",
    ),
    changes(
        "core",
        "023_360_to_370",
        "ALTER TABLE clustering_data_planes ADD COLUMN IF NOT EXISTS rpc_capabilities TEXT[];",
    ),
    adds("core", "024_380_to_390"),
    changes(
        "core",
        "025_390_to_3100",
        "DROP TABLE IF EXISTS clustering_sync_delta; \
         ALTER TABLE IF EXISTS clustering_sync_version ALTER COLUMN version TYPE BIGINT; \
         ALTER SEQUENCE IF EXISTS clustering_sync_version_version_seq AS BIGINT NO MAXVALUE;",
    ),
    adds("acme", "002_320_to_330"),
    Upgrade {
        of: ("acme", "003_350_to_360"),
        up: "UPDATE plugins SET config = jsonb_set(config, '{storage_config,redis}', r || \
             jsonb_build_object('password', coalesce(r -> 'auth', r -> 'password'), \
             'server_name', coalesce(r -> 'ssl_server_name', r -> 'server_name'), \
             'extra_options', jsonb_build_object( \
             'scan_count', coalesce(r -> 'scan_count', r #> '{extra_options,scan_count}'), \
             'namespace', coalesce(r -> 'namespace', r #> '{extra_options,namespace}')))) \
             FROM (SELECT id AS of, config #> '{storage_config,redis}' AS r FROM plugins) was \
             WHERE id = was.of AND name = 'acme' AND jsonb_typeof(r) = 'object';",
        finish: "UPDATE plugins SET config = config #- '{storage_config,redis,auth}' \
                 #- '{storage_config,redis,ssl_server_name}' \
                 #- '{storage_config,redis,scan_count}' #- '{storage_config,redis,namespace}' \
                 WHERE name = 'acme';",
    },
    Upgrade { of: ("ai-proxy", "001_360_to_370"), up: "", finish: include_str!("ai-proxy.sql") },
    adds("key-auth", "004_320_to_330"),
    adds("oauth2", "006_320_to_330"),
    changes(
        "oauth2",
        "007_320_to_330",
        "ALTER TABLE IF EXISTS oauth2_authorization_codes ADD COLUMN IF NOT EXISTS plugin_id UUID \
         REFERENCES plugins (id) ON DELETE CASCADE;",
    ),
    // A default that sent every span by itself.
    Upgrade {
        of: ("opentelemetry", "001_331_to_332"),
        up: "",
        finish: "UPDATE plugins SET config = jsonb_set(config, '{queue,max_batch_size}', '200') \
                 WHERE name = 'opentelemetry' AND config #> '{queue,max_batch_size}' = '1';",
    },
    adds("rate-limiting", "005_320_to_330"),
    redis_record!("rate-limiting", "006_350_to_360"),
    adds("response-ratelimiting", "000_base_response_rate_limiting"),
    redis_record!("response-ratelimiting", "001_350_to_360"),
    adds("session", "002_320_to_330"),
    adds("session", "003_330_to_3100"),
];

/// The time of the last change of every entity that did not have it.
const UPDATED_AT: &str = concat!(
    updated_at!("plugins", 0),
    updated_at!("ca_certificates", 0),
    updated_at!("certificates", 0),
    updated_at!("consumers", 0),
    updated_at!("snis", 0),
    updated_at!("targets", 3),
    updated_at!("upstreams", 0),
    updated_at!("workspaces", 0),
    updated_at!("clustering_data_planes", 0),
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::layout::Subsystem;

    #[test]
    fn upgrades_are_known_migrations() {
        let all: Vec<Subsystem> = Subsystem::known().collect();
        for Upgrade { of: (subsystem, name), .. } in UPGRADES {
            let known = all.iter().find(|known| known.name == *subsystem);
            let known = known.is_some_and(|known| known.migrations.iter().any(|m| m == name));
            assert!(known, "{subsystem} {name}");
        }
    }
}
