//! Counters in Redis, shared by all nodes that use it, Kong's included: keys and counts are
//! Kong's. Each look is one script, so that no two requests see the same count.

use std::sync::LazyLock;

use redis::Script;

use super::{Limit, Moment, Used, Window};
use crate::redis::{Redis, RedisFault};

/// How much longer than its window a counter lives, in seconds: clocks of nodes differ.
const GRACE: u64 = 2;

/// Counts one more of each key where no limit is reached. Limits and lives in milliseconds
/// alternate in the arguments.
static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r#"
        local used, stop = {}, false
        for i, key in ipairs(KEYS) do
          used[i] = tonumber(redis.call("get", key) or "0")
          stop = stop or used[i] >= tonumber(ARGV[2 * i - 1])
        end
        if not stop then
          for i, key in ipairs(KEYS) do
            redis.call("incr", key)
            if redis.call("pttl", key) < 0 then
              redis.call("pexpire", key, ARGV[2 * i])
            end
          end
        end
        return used
        "#,
    )
});

/// Adds to each key; amounts and lives alternate. Gives the counts after it.
static ADD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r#"
        local used = {}
        for i, key in ipairs(KEYS) do
          used[i] = redis.call("incrby", key, ARGV[2 * i - 1])
          if redis.call("pttl", key) < 0 then
            redis.call("pexpire", key, ARGV[2 * i])
          end
        end
        return used
        "#,
    )
});

/// Reads each key.
static READ: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r#"
        local used = {}
        for i, key in ipairs(KEYS) do
          used[i] = tonumber(redis.call("get", key) or "0")
        end
        return used
        "#,
    )
});

/// How long the counter of a window lives from now on, in milliseconds.
pub(crate) fn life(window: Window, now: Moment) -> String {
    ((window.end.saturating_sub(now.0) + GRACE) * 1_000).to_string()
}

/// Counts one more where nothing is exceeded: what was used before. The keys go with the limits.
///
/// # Errors
/// If Redis can't say.
pub(crate) async fn take(
    redis: &Redis,
    keys: &[String],
    limits: &[Limit],
    now: Moment,
) -> Result<Used, RedisFault> {
    let args: Vec<String> =
        limits.iter().flat_map(|l| [l.most.to_string(), life(now.window(l.period), now)]).collect();
    Ok(counts(&redis.run::<Vec<i64>>(&TAKE, keys, &args).await?))
}

/// Adds an amount of its own to each key, whose window's life goes with it: the counts after it.
///
/// # Errors
/// If Redis can't do it. It did nothing then, or has not said so.
pub(crate) async fn add(
    redis: &Redis,
    keys: &[String],
    amounts: &[(u64, String)],
) -> Result<Vec<i64>, RedisFault> {
    let args: Vec<String> =
        amounts.iter().flat_map(|(amount, life)| [amount.to_string(), life.clone()]).collect();
    redis.run(&ADD, keys, &args).await
}

/// What was used.
///
/// # Errors
/// If Redis can't say.
pub(crate) async fn used(redis: &Redis, keys: &[String]) -> Result<Used, RedisFault> {
    Ok(counts(&redis.run::<Vec<i64>>(&READ, keys, &[]).await?))
}

fn counts(found: &[i64]) -> Used {
    let mut used = Used::default();
    for (used, found) in used.iter_mut().zip(found) {
        *used = u64::try_from(*found).unwrap_or_default();
    }
    used
}
