return {
  postgres = {
    up = [[
      CREATE TABLE IF NOT EXISTS "badge_lists" (
        "id"         UUID                       PRIMARY KEY,
        "created_at" TIMESTAMP WITH TIME ZONE   DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
        "name"       TEXT,
        "floor"      INTEGER                    UNIQUE,
        "from"       TEXT,
        "till"       TEXT,
        "tags"       TEXT[],
        "ws_id"      UUID                       REFERENCES "workspaces" ("id"),
        UNIQUE ("ws_id", "name"),
        UNIQUE ("id", "ws_id")
      );

      CREATE TABLE IF NOT EXISTS "badges" (
        "id"          UUID                       PRIMARY KEY,
        "created_at"  TIMESTAMP WITH TIME ZONE   DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
        "consumer_id" UUID                       REFERENCES "consumers" ("id") ON DELETE CASCADE,
        "list_id"     UUID                       REFERENCES "badge_lists" ("id") ON DELETE CASCADE,
        "code"        TEXT                       UNIQUE,
        "uses"        INTEGER,
        "tags"        TEXT[],
        "cache_key"   TEXT                       UNIQUE,
        "ttl"         TIMESTAMP WITH TIME ZONE,
        "ws_id"       UUID                       REFERENCES "workspaces" ("id")
      );
    ]],
  },
}
