-- Which migrations have run, and who runs them now.

CREATE TABLE IF NOT EXISTS "schema_meta" (
  "key" TEXT NOT NULL,
  "subsystem" TEXT NOT NULL,
  "last_executed" TEXT,
  "executed" TEXT[],
  "pending" TEXT[],
  CONSTRAINT "schema_meta_pkey" PRIMARY KEY (key, subsystem)
);

CREATE TABLE IF NOT EXISTS "locks" (
  "key" TEXT NOT NULL,
  "owner" TEXT,
  "ttl" TIMESTAMP WITH TIME ZONE,
  CONSTRAINT "locks_pkey" PRIMARY KEY (key)
);
CREATE INDEX IF NOT EXISTS "locks_ttl_idx" ON "locks" (ttl);
