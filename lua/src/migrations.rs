//! The migrations of Lua plugins: `migrations/init.lua` names them, a file each says what it does
//! (kong/db/migrations/state.lua).

use std::sync::Arc;

use mlua::{Function, MultiValue, Table, Value};
use serde_json::Value as Json;
use silverback_model::migration::{Migration, Query, Work};

use crate::{convert, host::Shared, raw::plain, state::State};

/// What functions of migrations are called with.
const CONNECTOR: &str = r#"
local query = ...
local connector = {}
local function yes() return true end
for _, name in ipairs { "connect", "connect_migrations", "close", "setkeepalive" } do
  connector[name] = yes
end
function connector:query(sql)
  local rows, problem = query(sql)
  if not rows then return nil, problem end
  return rows
end
function connector:escape_literal(value)
  if type(value) ~= "string" then return tostring(value) end
  return "'" .. value:gsub("'", "''") .. "'"
end
function connector:escape_identifier(name) return '"' .. name:gsub('"', '""') .. '"' end
return connector
"#;

/// The migrations of a plugin, in order; none if it has none.
///
/// # Errors
/// What is wrong with its files.
pub(crate) fn of(
    shared: &Arc<Shared>,
    state: &State,
    plugin: &str,
) -> Result<Vec<Migration>, String> {
    let folder = format!("kong.plugins.{plugin}.migrations");
    let module = match state.has_module(&folder).map_err(|error| plain(&error))? {
        true => folder.clone(),
        false => format!("{folder}.init"),
    };
    if !state.has_module(&module).map_err(|error| plain(&error))? {
        return Ok(Vec::new());
    }
    let names: Vec<String> = state
        .require(&module)
        .map_err(|error| format!("migrations/init.lua: {}", plain(&error)))?;
    let one = |name: &String| {
        let fault = |text: String| format!("migrations/{name}.lua: {text}");
        one(shared, state, &format!("{folder}.{name}"), name).map_err(fault)
    };
    names.iter().map(one).collect()
}

fn one(shared: &Arc<Shared>, state: &State, module: &str, name: &str) -> Result<Migration, String> {
    let table: Table = state.require(module).map_err(|error| plain(&error))?;
    let postgres: Option<Table> = table.get("postgres").map_err(|error| plain(&error))?;
    let Some(postgres) = postgres else { return Ok(Migration::named(name)) };
    let up = match postgres.get::<Value>("up").map_err(|error| plain(&error))? {
        Value::Nil => String::new(),
        Value::String(sql) => sql.to_string_lossy(),
        _ => return Err("postgres.up: expected SQL".to_owned()),
    };
    let work = |part: &'static str| match postgres.get::<Value>(part) {
        Ok(Value::Nil) => Ok(None),
        Ok(Value::Function(_)) => Ok(Some(work(shared.clone(), module.to_owned(), part))),
        _ => Err(format!("postgres.{part}: expected a function")),
    };
    let (up_work, teardown) = (work("up_f")?, work("teardown")?);
    Ok(Migration { name: name.to_owned(), up, up_work, teardown })
}

/// A function of a migration, called on whatever thread it is needed.
fn work(shared: Arc<Shared>, module: String, part: &'static str) -> Arc<Work> {
    Arc::new(move |query: &mut Query<'_>| {
        let state = shared.state()?;
        let mut call = || -> mlua::Result<MultiValue> {
            let migration: Table = state.require(&module)?;
            let function: Function = migration.get::<Table>("postgres")?.get(part)?;
            state.lua.scope(|scope| {
                let ask = scope.create_function_mut(|lua, sql: String| match query(&sql) {
                    Ok(rows) => {
                        let rows = rows.into_iter().map(Json::Object).collect();
                        Ok((convert::to_lua(lua, &Json::Array(rows))?, None))
                    }
                    Err(error) => Ok((Value::Nil, Some(error))),
                })?;
                let make = state.lua.load(CONNECTOR).set_name("=[silverback] connector");
                let connector: Table = make.call(ask)?;
                function.call(connector)
            })
        };
        let results = call().map_err(|error| plain(&error))?;
        // A second result is what went wrong.
        match results.get(1) {
            None | Some(Value::Nil) => Ok(()),
            Some(problem) => Err(problem.to_string().unwrap_or_default()),
        }
    })
}
