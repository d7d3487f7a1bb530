//! What Lua occupies on this node, for whoever shows it: the states of workers and the shared
//! dictionaries. Who runs Lua says so once, by [`set_lua_memory`].

use std::sync::OnceLock;

use crate::Value;

/// What Lua occupies, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LuaMemory {
    /// The states: the id of each worker's thread, and what its collector has allocated.
    pub states: Vec<(u32, u64)>,
    /// The shared dictionaries: name, capacity, and how much of that is in use.
    pub dicts: Vec<(String, u64, u64)>,
    /// The timers of all workers.
    pub timers: LuaTimers,
}

/// How many timers there are (`ngx.timer`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LuaTimers {
    /// That wait.
    pub pending: u64,
    /// That run.
    pub running: u64,
}

static SOURCE: OnceLock<fn() -> LuaMemory> = OnceLock::new();

/// Says where [`lua_memory`] asks. The first one stays.
pub fn set_lua_memory(source: fn() -> LuaMemory) {
    // Every host of this process says the same.
    let _ = SOURCE.set(source);
}

/// What Lua occupies now; nothing on a node without it.
pub fn lua_memory() -> LuaMemory {
    SOURCE.get().map_or_else(LuaMemory::default, |source| source())
}

impl LuaMemory {
    /// As `kong.node.get_memory_stats` and `/status` show it (kong/pdk/node.lua): numbers of bytes
    /// for the unit `b` or none, else texts with that many digits behind the point.
    ///
    /// # Errors
    /// Kong's text, if there is no such unit (`b`, `k`, `m`, `g`, or capitals) or the scale is
    /// below zero.
    pub fn shown(&self, unit: &str, scale: f64) -> Result<Value, String> {
        let amount = amounts(unit, scale)?;
        let text = Value::constant;
        let state = |(pid, bytes): &(u32, u64)| {
            let pid = (text("pid"), Value::Int((*pid).into()));
            Value::Map(vec![(text("http_allocated_gc"), amount(*bytes)), pid])
        };
        let dict = |(name, capacity, used): &(String, u64, u64)| {
            let capacity = (text("capacity"), amount(*capacity));
            let used = (text("allocated_slabs"), amount(*used));
            (Value::from(name.as_str()), Value::Map(vec![capacity, used]))
        };
        Ok(Value::Map(vec![
            (text("workers_lua_vms"), Value::Array(self.states.iter().map(state).collect())),
            (text("lua_shared_dicts"), Value::Map(self.dicts.iter().map(dict).collect())),
        ]))
    }
}

/// How amounts of a unit are shown (kong/tools/string.lua, `bytes_to_str`).
fn amounts(unit: &str, scale: f64) -> Result<impl Fn(u64) -> Value + use<>, String> {
    let (divisor, name) = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => (1.0, ""),
        "k" => (1024.0, "KiB"),
        "m" => (1_048_576.0, "MiB"),
        "g" => (1_073_741_824.0, "GiB"),
        _ => return Err(format!("invalid unit '{unit}' (expected 'k/K', 'm/M', or 'g/G')")),
    };
    if scale.is_nan() || scale < 0.0 {
        return Err("scale must be equal or greater than 0".to_owned());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 99")]
    let digits = scale.min(99.0) as usize;
    #[expect(clippy::cast_precision_loss, reason = "a memory is far below 2^53 bytes")]
    let amount = move |bytes: u64| match name {
        "" => Value::Int(i64::try_from(bytes).unwrap_or(i64::MAX)),
        name => Value::from(format!("{:.digits$} {name}", bytes as f64 / divisor).as_str()),
    };
    Ok(amount)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn amounts_have_units() {
        let memory = LuaMemory {
            states: vec![(7, 5_497_558)],
            dicts: vec![("d".to_owned(), 2048, 512)],
            ..LuaMemory::default()
        };
        let check = |unit: &str, scale: f64, expect: Result<[serde_json::Value; 3], &str>| {
            let shown = memory.shown(unit, scale).map(|shown| shown.to_json());
            let expect = expect.map(|[state, capacity, used]| {
                json!({
                    "workers_lua_vms": [{ "http_allocated_gc": state, "pid": 7 }],
                    "lua_shared_dicts": { "d": { "capacity": capacity, "allocated_slabs": used } },
                })
            });
            assert_eq!(shown, expect.map_err(str::to_owned), "{unit} {scale}");
        };
        check("", 2.0, Ok([json!(5_497_558), json!(2048), json!(512)]));
        check("B", 2.0, Ok([json!(5_497_558), json!(2048), json!(512)]));
        check("k", 0.0, Ok([json!("5369 KiB"), json!("2 KiB"), json!("0 KiB")]));
        check("m", 2.0, Ok([json!("5.24 MiB"), json!("0.00 MiB"), json!("0.00 MiB")]));
        check("G", 3.0, Ok([json!("0.005 GiB"), json!("0.000 GiB"), json!("0.000 GiB")]));
        check("x", 2.0, Err("invalid unit 'x' (expected 'k/K', 'm/M', or 'g/G')"));
        check("m", -1.0, Err("scale must be equal or greater than 0"));
    }
}
