//! The tables of Kong 3.10, by the subsystem that brings them, with the records of the migrations
//! that made them there (kong/db/migrations, kong/plugins/*/migrations), and those of other
//! plugins.

mod upgrade;

use silverback_model::migration::Migration;

pub(super) use upgrade::{Upgrade, upgrade};

/// A part of the layout: Kong's core, or a plugin that keeps something.
#[derive(Debug, Clone)]
pub(super) struct Subsystem {
    /// `core`, or the plugin's name.
    pub(super) name: String,
    /// The names of its migrations, in order.
    pub(super) migrations: Vec<String>,
    /// How its tables are made.
    pub(super) making: Making,
}

/// How the tables of a subsystem are made.
#[derive(Debug, Clone)]
pub(super) enum Making {
    /// At once, as they are after the last migration.
    Whole(&'static Known),
    /// Step by step: a plugin's own migrations.
    Steps(Vec<Migration>),
}

impl Subsystem {
    /// What Kong 3.10 has.
    pub(super) fn known() -> impl Iterator<Item = Subsystem> {
        SUBSYSTEMS.iter().map(|known| Subsystem {
            name: known.name.to_owned(),
            migrations: known.migrations.iter().map(|name| (*name).to_owned()).collect(),
            making: Making::Whole(known),
        })
    }

    /// That of a plugin of somebody else's.
    pub(super) fn of(name: &str, steps: Vec<Migration>) -> Subsystem {
        let migrations = steps.iter().map(|step| step.name.clone()).collect();
        Subsystem { name: name.to_owned(), migrations, making: Making::Steps(steps) }
    }
}

/// A part of the layout that Kong 3.10 has.
#[derive(Debug)]
pub(super) struct Known {
    /// `core`, or the plugin's name.
    name: &'static str,
    /// What makes its tables as they are after the last migration. Run again it changes nothing.
    pub(super) tables: &'static str,
    /// The names of its migrations, in order.
    migrations: &'static [&'static str],
    /// Whether one of them had to be finished, which leaves a trace in the records.
    pub(super) finished: bool,
}

/// The records of migrations and who runs them: before all others.
pub(super) const META: &str = include_str!("layout/meta.sql");

macro_rules! plugin {
    ($name:literal, [$($migration:literal),*]) => {
        Known { name: $name, tables: "", migrations: &[$($migration),*], finished: true }
    };
    ($name:literal, tables, [$($migration:literal),*]) => {
        Known {
            tables: include_str!(concat!("layout/", $name, ".sql")),
            ..plugin!($name, [$($migration),*])
        }
    };
}

/// Every subsystem, in the order in which they are made.
static SUBSYSTEMS: &[Known] = &[
    Known {
        name: "core",
        tables: include_str!("layout/core.sql"),
        migrations: &[
            "000_base",
            "003_100_to_110",
            "004_110_to_120",
            "005_120_to_130",
            "006_130_to_140",
            "007_140_to_150",
            "008_150_to_200",
            "009_200_to_210",
            "010_210_to_211",
            "011_212_to_213",
            "012_213_to_220",
            "013_220_to_230",
            "014_230_to_270",
            "015_270_to_280",
            "016_280_to_300",
            "017_300_to_310",
            "018_310_to_320",
            "019_320_to_330",
            "020_330_to_340",
            "021_340_to_350",
            "022_350_to_360",
            "023_360_to_370",
            "024_380_to_390",
            "025_390_to_3100",
        ],
        finished: true,
    },
    plugin!("acl", tables, ["000_base_acl", "002_130_to_140", "003_200_to_210", "004_212_to_213"]),
    plugin!(
        "acme",
        tables,
        ["000_base_acme", "001_280_to_300", "002_320_to_330", "003_350_to_360"]
    ),
    plugin!("ai-proxy", ["001_360_to_370"]),
    plugin!("basic-auth", tables, ["000_base_basic_auth", "002_130_to_140", "003_200_to_210"]),
    plugin!("bot-detection", ["001_200_to_210"]),
    plugin!("hmac-auth", tables, ["000_base_hmac_auth", "002_130_to_140", "003_200_to_210"]),
    plugin!("http-log", ["001_280_to_300"]),
    plugin!("ip-restriction", ["001_200_to_210"]),
    plugin!("jwt", tables, ["000_base_jwt", "002_130_to_140", "003_200_to_210"]),
    plugin!(
        "key-auth",
        tables,
        ["000_base_key_auth", "002_130_to_140", "003_200_to_210", "004_320_to_330"]
    ),
    plugin!(
        "oauth2",
        tables,
        [
            "000_base_oauth2",
            "003_130_to_140",
            "004_200_to_210",
            "005_210_to_211",
            "006_320_to_330",
            "007_320_to_330"
        ]
    ),
    plugin!("opentelemetry", ["001_331_to_332"]),
    plugin!("post-function", ["001_280_to_300"]),
    plugin!("pre-function", ["001_280_to_300"]),
    plugin!(
        "rate-limiting",
        tables,
        [
            "000_base_rate_limiting",
            "003_10_to_112",
            "004_200_to_210",
            "005_320_to_330",
            "006_350_to_360"
        ]
    ),
    plugin!("response-ratelimiting", tables, ["000_base_response_rate_limiting", "001_350_to_360"]),
    Known {
        finished: false,
        ..plugin!(
            "session",
            tables,
            ["000_base_session", "001_add_ttl_index", "002_320_to_330", "003_330_to_3100"]
        )
    },
];
