-- What the plugin session keeps.

CREATE TABLE IF NOT EXISTS "sessions" (
  "id" UUID NOT NULL,
  "session_id" TEXT,
  "expires" INTEGER,
  "data" TEXT,
  "created_at" TIMESTAMP WITH TIME ZONE,
  "ttl" TIMESTAMP WITH TIME ZONE,
  CONSTRAINT "sessions_pkey" PRIMARY KEY (id),
  CONSTRAINT "sessions_session_id_key" UNIQUE (session_id)
);
CREATE INDEX IF NOT EXISTS "session_sessions_expires_idx" ON "sessions" (expires);
CREATE INDEX IF NOT EXISTS "sessions_ttl_idx" ON "sessions" (ttl);
DROP TRIGGER IF EXISTS "sessions_ttl_trigger" ON "sessions";
CREATE TRIGGER "sessions_ttl_trigger" AFTER INSERT ON "sessions"
  FOR EACH STATEMENT EXECUTE PROCEDURE batch_delete_expired_rows('ttl');

CREATE TABLE IF NOT EXISTS "session_metadatas" (
  "id" UUID NOT NULL,
  "session_id" UUID,
  "sid" TEXT,
  "subject" TEXT,
  "audience" TEXT,
  "created_at" TIMESTAMP WITH TIME ZONE,
  CONSTRAINT "session_metadatas_pkey" PRIMARY KEY (id),
  CONSTRAINT "session_metadatas_session_id_fkey" FOREIGN KEY (session_id)
    REFERENCES sessions(id) ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS "session_id_idx" ON "session_metadatas" (session_id);
CREATE INDEX IF NOT EXISTS "subject_audience_idx" ON "session_metadatas" (subject, audience);
