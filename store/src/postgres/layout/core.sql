-- Kong 3.10's own tables, as a database has them that Kong has bootstrapped. Run again it changes
-- nothing.

-- Keeps the table of tags in step with the entities' own.
CREATE OR REPLACE FUNCTION sync_tags() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    IF TG_OP = 'TRUNCATE' THEN
      DELETE FROM tags WHERE entity_name = TG_TABLE_NAME;
      RETURN NULL;
    END IF;
    IF TG_OP = 'DELETE' THEN
      DELETE FROM tags WHERE entity_id = OLD.id;
      RETURN OLD;
    END IF;
    INSERT INTO tags (entity_id, entity_name, tags) VALUES (NEW.id, TG_TABLE_NAME, NEW.tags)
      ON CONFLICT (entity_id) DO UPDATE SET tags = EXCLUDED.tags;
    RETURN NEW;
  END;
$$;

-- Every statement that adds rows takes a few of those away that are over; the column is the
-- argument.
CREATE OR REPLACE FUNCTION batch_delete_expired_rows() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    EXECUTE format(
      'DELETE FROM %1$I WHERE ctid IN (SELECT ctid FROM %1$I WHERE %2$I < '
      'CURRENT_TIMESTAMP AT TIME ZONE ''UTC'' ORDER BY %2$I LIMIT 2 FOR UPDATE SKIP LOCKED)',
      TG_TABLE_NAME, TG_ARGV[0]);
    RETURN NULL;
  END;
$$;

CREATE TABLE IF NOT EXISTS "workspaces" (
  "id" UUID NOT NULL,
  "name" TEXT,
  "comment" TEXT,
  "created_at" TIMESTAMP WITH TIME ZONE DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  "meta" JSONB,
  "config" JSONB,
  "updated_at" TIMESTAMP WITH TIME ZONE DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  CONSTRAINT "workspaces_pkey" PRIMARY KEY (id),
  CONSTRAINT "workspaces_name_key" UNIQUE (name)
);

CREATE TABLE IF NOT EXISTS "parameters" (
  "key" TEXT NOT NULL,
  "value" TEXT NOT NULL,
  "created_at" TIMESTAMP WITH TIME ZONE,
  CONSTRAINT "parameters_pkey" PRIMARY KEY (key)
);

CREATE TABLE IF NOT EXISTS "cluster_events" (
  "id" UUID NOT NULL,
  "node_id" UUID NOT NULL,
  "at" TIMESTAMP WITH TIME ZONE NOT NULL,
  "nbf" TIMESTAMP WITH TIME ZONE,
  "expire_at" TIMESTAMP WITH TIME ZONE NOT NULL,
  "channel" TEXT,
  "data" TEXT,
  CONSTRAINT "cluster_events_pkey" PRIMARY KEY (id)
);
CREATE INDEX IF NOT EXISTS "cluster_events_at_idx" ON "cluster_events" (at);
CREATE INDEX IF NOT EXISTS "cluster_events_channel_idx" ON "cluster_events" (channel);
CREATE INDEX IF NOT EXISTS "cluster_events_expire_at_idx" ON "cluster_events" (expire_at);
DROP TRIGGER IF EXISTS "cluster_events_ttl_trigger" ON "cluster_events";
CREATE TRIGGER "cluster_events_ttl_trigger" AFTER INSERT ON "cluster_events"
  FOR EACH STATEMENT EXECUTE PROCEDURE batch_delete_expired_rows('expire_at');

CREATE TABLE IF NOT EXISTS "consumers" (
  "id" UUID NOT NULL,
  "created_at" TIMESTAMP WITH TIME ZONE DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  "username" TEXT,
  "custom_id" TEXT,
  "tags" TEXT[],
  "ws_id" UUID,
  "updated_at" TIMESTAMP WITH TIME ZONE DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  CONSTRAINT "consumers_pkey" PRIMARY KEY (id),
  CONSTRAINT "consumers_id_ws_id_unique" UNIQUE (id, ws_id),
  CONSTRAINT "consumers_ws_id_custom_id_unique" UNIQUE (ws_id, custom_id),
  CONSTRAINT "consumers_ws_id_username_unique" UNIQUE (ws_id, username),
  CONSTRAINT "consumers_ws_id_fkey" FOREIGN KEY (ws_id) REFERENCES workspaces(id)
);
CREATE INDEX IF NOT EXISTS "consumers_tags_idx" ON "consumers" USING gin (tags);
CREATE INDEX IF NOT EXISTS "consumers_username_idx" ON "consumers" (lower(username));
DROP TRIGGER IF EXISTS "consumers_sync_tags_trigger" ON "consumers";
CREATE TRIGGER "consumers_sync_tags_trigger"
  AFTER INSERT OR UPDATE OF tags OR DELETE ON "consumers"
  FOR EACH ROW EXECUTE PROCEDURE sync_tags();

CREATE TABLE IF NOT EXISTS "certificates" (
  "id" UUID NOT NULL,
  "created_at" TIMESTAMP WITH TIME ZONE DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  "cert" TEXT,
  "key" TEXT,
  "tags" TEXT[],
  "ws_id" UUID,
  "cert_alt" TEXT,
  "key_alt" TEXT,
  "updated_at" TIMESTAMP WITH TIME ZONE DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  CONSTRAINT "certificates_pkey" PRIMARY KEY (id),
  CONSTRAINT "certificates_id_ws_id_unique" UNIQUE (id, ws_id),
  CONSTRAINT "certificates_ws_id_fkey" FOREIGN KEY (ws_id) REFERENCES workspaces(id)
);
CREATE INDEX IF NOT EXISTS "certificates_tags_idx" ON "certificates" USING gin (tags);
DROP TRIGGER IF EXISTS "certificates_sync_tags_trigger" ON "certificates";
CREATE TRIGGER "certificates_sync_tags_trigger"
  AFTER INSERT OR UPDATE OF tags OR DELETE ON "certificates"
  FOR EACH ROW EXECUTE PROCEDURE sync_tags();

CREATE TABLE IF NOT EXISTS "ca_certificates" (
  "id" UUID NOT NULL,
  "created_at" TIMESTAMP WITH TIME ZONE DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  "cert" TEXT NOT NULL,
  "tags" TEXT[],
  "cert_digest" TEXT NOT NULL,
  "updated_at" TIMESTAMP WITH TIME ZONE DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  CONSTRAINT "ca_certificates_pkey" PRIMARY KEY (id),
  CONSTRAINT "ca_certificates_cert_digest_key" UNIQUE (cert_digest)
);
DROP TRIGGER IF EXISTS "ca_certificates_sync_tags_trigger" ON "ca_certificates";
CREATE TRIGGER "ca_certificates_sync_tags_trigger"
  AFTER INSERT OR UPDATE OF tags OR DELETE ON "ca_certificates"
  FOR EACH ROW EXECUTE PROCEDURE sync_tags();

CREATE TABLE IF NOT EXISTS "snis" (
  "id" UUID NOT NULL,
  "created_at" TIMESTAMP WITH TIME ZONE DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  "name" TEXT NOT NULL,
  "certificate_id" UUID,
  "tags" TEXT[],
  "ws_id" UUID,
  "updated_at" TIMESTAMP WITH TIME ZONE DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  CONSTRAINT "snis_pkey" PRIMARY KEY (id),
  CONSTRAINT "snis_id_ws_id_unique" UNIQUE (id, ws_id),
  CONSTRAINT "snis_name_key" UNIQUE (name),
  CONSTRAINT "snis_certificate_id_fkey" FOREIGN KEY (certificate_id, ws_id)
    REFERENCES certificates(id, ws_id),
  CONSTRAINT "snis_ws_id_fkey" FOREIGN KEY (ws_id) REFERENCES workspaces(id)
);
CREATE INDEX IF NOT EXISTS "snis_certificate_id_idx" ON "snis" (certificate_id);
CREATE INDEX IF NOT EXISTS "snis_tags_idx" ON "snis" USING gin (tags);
DROP TRIGGER IF EXISTS "snis_sync_tags_trigger" ON "snis";
CREATE TRIGGER "snis_sync_tags_trigger"
  AFTER INSERT OR UPDATE OF tags OR DELETE ON "snis"
  FOR EACH ROW EXECUTE PROCEDURE sync_tags();

CREATE TABLE IF NOT EXISTS "services" (
  "id" UUID NOT NULL,
  "created_at" TIMESTAMP WITH TIME ZONE,
  "updated_at" TIMESTAMP WITH TIME ZONE,
  "name" TEXT,
  "retries" BIGINT,
  "protocol" TEXT,
  "host" TEXT,
  "port" BIGINT,
  "path" TEXT,
  "connect_timeout" BIGINT,
  "write_timeout" BIGINT,
  "read_timeout" BIGINT,
  "tags" TEXT[],
  "client_certificate_id" UUID,
  "tls_verify" BOOLEAN,
  "tls_verify_depth" SMALLINT,
  "ca_certificates" UUID[],
  "ws_id" UUID,
  "enabled" BOOLEAN DEFAULT true,
  CONSTRAINT "services_pkey" PRIMARY KEY (id),
  CONSTRAINT "services_id_ws_id_unique" UNIQUE (id, ws_id),
  CONSTRAINT "services_ws_id_name_unique" UNIQUE (ws_id, name),
  CONSTRAINT "services_client_certificate_id_fkey" FOREIGN KEY (client_certificate_id, ws_id)
    REFERENCES certificates(id, ws_id),
  CONSTRAINT "services_ws_id_fkey" FOREIGN KEY (ws_id) REFERENCES workspaces(id)
);
CREATE INDEX IF NOT EXISTS "services_fkey_client_certificate"
  ON "services" (client_certificate_id);
CREATE INDEX IF NOT EXISTS "services_tags_idx" ON "services" USING gin (tags);
DROP TRIGGER IF EXISTS "services_sync_tags_trigger" ON "services";
CREATE TRIGGER "services_sync_tags_trigger"
  AFTER INSERT OR UPDATE OF tags OR DELETE ON "services"
  FOR EACH ROW EXECUTE PROCEDURE sync_tags();

CREATE TABLE IF NOT EXISTS "routes" (
  "id" UUID NOT NULL,
  "created_at" TIMESTAMP WITH TIME ZONE,
  "updated_at" TIMESTAMP WITH TIME ZONE,
  "name" TEXT,
  "service_id" UUID,
  "protocols" TEXT[],
  "methods" TEXT[],
  "hosts" TEXT[],
  "paths" TEXT[],
  "snis" TEXT[],
  "sources" JSONB[],
  "destinations" JSONB[],
  "regex_priority" BIGINT,
  "strip_path" BOOLEAN,
  "preserve_host" BOOLEAN,
  "tags" TEXT[],
  "https_redirect_status_code" INTEGER,
  "headers" JSONB,
  "path_handling" TEXT DEFAULT 'v0',
  "ws_id" UUID,
  "request_buffering" BOOLEAN,
  "response_buffering" BOOLEAN,
  "expression" TEXT,
  "priority" BIGINT,
  CONSTRAINT "routes_pkey" PRIMARY KEY (id),
  CONSTRAINT "routes_id_ws_id_unique" UNIQUE (id, ws_id),
  CONSTRAINT "routes_ws_id_name_unique" UNIQUE (ws_id, name),
  CONSTRAINT "routes_service_id_fkey" FOREIGN KEY (service_id, ws_id)
    REFERENCES services(id, ws_id),
  CONSTRAINT "routes_ws_id_fkey" FOREIGN KEY (ws_id) REFERENCES workspaces(id)
);
CREATE INDEX IF NOT EXISTS "routes_service_id_idx" ON "routes" (service_id);
CREATE INDEX IF NOT EXISTS "routes_tags_idx" ON "routes" USING gin (tags);
DROP TRIGGER IF EXISTS "routes_sync_tags_trigger" ON "routes";
CREATE TRIGGER "routes_sync_tags_trigger"
  AFTER INSERT OR UPDATE OF tags OR DELETE ON "routes"
  FOR EACH ROW EXECUTE PROCEDURE sync_tags();

CREATE TABLE IF NOT EXISTS "plugins" (
  "id" UUID NOT NULL,
  "created_at" TIMESTAMP WITH TIME ZONE DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  "name" TEXT NOT NULL,
  "consumer_id" UUID,
  "service_id" UUID,
  "route_id" UUID,
  "config" JSONB NOT NULL,
  "enabled" BOOLEAN NOT NULL,
  "cache_key" TEXT,
  "protocols" TEXT[],
  "tags" TEXT[],
  "ws_id" UUID,
  "instance_name" TEXT,
  "updated_at" TIMESTAMP WITH TIME ZONE DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  CONSTRAINT "plugins_pkey" PRIMARY KEY (id),
  CONSTRAINT "plugins_cache_key_key" UNIQUE (cache_key),
  CONSTRAINT "plugins_id_ws_id_unique" UNIQUE (id, ws_id),
  CONSTRAINT "plugins_ws_id_instance_name_unique" UNIQUE (ws_id, instance_name),
  CONSTRAINT "plugins_consumer_id_fkey" FOREIGN KEY (consumer_id, ws_id)
    REFERENCES consumers(id, ws_id) ON DELETE CASCADE,
  CONSTRAINT "plugins_route_id_fkey" FOREIGN KEY (route_id, ws_id)
    REFERENCES routes(id, ws_id) ON DELETE CASCADE,
  CONSTRAINT "plugins_service_id_fkey" FOREIGN KEY (service_id, ws_id)
    REFERENCES services(id, ws_id) ON DELETE CASCADE,
  CONSTRAINT "plugins_ws_id_fkey" FOREIGN KEY (ws_id) REFERENCES workspaces(id)
);
CREATE INDEX IF NOT EXISTS "plugins_consumer_id_idx" ON "plugins" (consumer_id);
CREATE INDEX IF NOT EXISTS "plugins_name_idx" ON "plugins" (name);
CREATE INDEX IF NOT EXISTS "plugins_route_id_idx" ON "plugins" (route_id);
CREATE INDEX IF NOT EXISTS "plugins_service_id_idx" ON "plugins" (service_id);
CREATE INDEX IF NOT EXISTS "plugins_tags_idx" ON "plugins" USING gin (tags);
DROP TRIGGER IF EXISTS "plugins_sync_tags_trigger" ON "plugins";
CREATE TRIGGER "plugins_sync_tags_trigger"
  AFTER INSERT OR UPDATE OF tags OR DELETE ON "plugins"
  FOR EACH ROW EXECUTE PROCEDURE sync_tags();

CREATE TABLE IF NOT EXISTS "filter_chains" (
  "id" UUID NOT NULL,
  "name" TEXT,
  "enabled" BOOLEAN DEFAULT true,
  "route_id" UUID,
  "service_id" UUID,
  "ws_id" UUID,
  "cache_key" TEXT,
  "filters" JSONB[],
  "tags" TEXT[],
  "created_at" TIMESTAMP WITH TIME ZONE,
  "updated_at" TIMESTAMP WITH TIME ZONE,
  CONSTRAINT "filter_chains_pkey" PRIMARY KEY (id),
  CONSTRAINT "filter_chains_cache_key_key" UNIQUE (cache_key),
  CONSTRAINT "filter_chains_name_key" UNIQUE (name),
  CONSTRAINT "filter_chains_route_id_fkey" FOREIGN KEY (route_id)
    REFERENCES routes(id) ON DELETE CASCADE,
  CONSTRAINT "filter_chains_service_id_fkey" FOREIGN KEY (service_id)
    REFERENCES services(id) ON DELETE CASCADE,
  CONSTRAINT "filter_chains_ws_id_fkey" FOREIGN KEY (ws_id)
    REFERENCES workspaces(id) ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS "filter_chains_tags_idx" ON "filter_chains" USING gin (tags);
CREATE UNIQUE INDEX IF NOT EXISTS "filter_chains_cache_key_idx" ON "filter_chains" (cache_key);
CREATE UNIQUE INDEX IF NOT EXISTS "filter_chains_name_idx" ON "filter_chains" (name);
DROP TRIGGER IF EXISTS "filter_chains_sync_tags_trigger" ON "filter_chains";
CREATE TRIGGER "filter_chains_sync_tags_trigger"
  AFTER INSERT OR UPDATE OF tags OR DELETE ON "filter_chains"
  FOR EACH ROW EXECUTE PROCEDURE sync_tags();

CREATE TABLE IF NOT EXISTS "upstreams" (
  "id" UUID NOT NULL,
  "created_at" TIMESTAMP WITH TIME ZONE DEFAULT (CURRENT_TIMESTAMP(3) AT TIME ZONE 'UTC'),
  "name" TEXT,
  "hash_on" TEXT,
  "hash_fallback" TEXT,
  "hash_on_header" TEXT,
  "hash_fallback_header" TEXT,
  "hash_on_cookie" TEXT,
  "hash_on_cookie_path" TEXT,
  "slots" INTEGER NOT NULL,
  "healthchecks" JSONB,
  "tags" TEXT[],
  "algorithm" TEXT,
  "host_header" TEXT,
  "client_certificate_id" UUID,
  "ws_id" UUID,
  "hash_on_query_arg" TEXT,
  "hash_fallback_query_arg" TEXT,
  "hash_on_uri_capture" TEXT,
  "hash_fallback_uri_capture" TEXT,
  "use_srv_name" BOOLEAN DEFAULT false,
  "updated_at" TIMESTAMP WITH TIME ZONE DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  CONSTRAINT "upstreams_pkey" PRIMARY KEY (id),
  CONSTRAINT "upstreams_id_ws_id_unique" UNIQUE (id, ws_id),
  CONSTRAINT "upstreams_ws_id_name_unique" UNIQUE (ws_id, name),
  CONSTRAINT "upstreams_client_certificate_id_fkey" FOREIGN KEY (client_certificate_id)
    REFERENCES certificates(id),
  CONSTRAINT "upstreams_ws_id_fkey" FOREIGN KEY (ws_id) REFERENCES workspaces(id)
);
CREATE INDEX IF NOT EXISTS "upstreams_fkey_client_certificate"
  ON "upstreams" (client_certificate_id);
CREATE INDEX IF NOT EXISTS "upstreams_tags_idx" ON "upstreams" USING gin (tags);
DROP TRIGGER IF EXISTS "upstreams_sync_tags_trigger" ON "upstreams";
CREATE TRIGGER "upstreams_sync_tags_trigger"
  AFTER INSERT OR UPDATE OF tags OR DELETE ON "upstreams"
  FOR EACH ROW EXECUTE PROCEDURE sync_tags();

CREATE TABLE IF NOT EXISTS "targets" (
  "id" UUID NOT NULL,
  "created_at" TIMESTAMP WITH TIME ZONE DEFAULT (CURRENT_TIMESTAMP(3) AT TIME ZONE 'UTC'),
  "upstream_id" UUID,
  "target" TEXT NOT NULL,
  "weight" INTEGER NOT NULL,
  "tags" TEXT[],
  "ws_id" UUID,
  "cache_key" TEXT,
  "updated_at" TIMESTAMP WITH TIME ZONE DEFAULT (CURRENT_TIMESTAMP(3) AT TIME ZONE 'UTC'),
  CONSTRAINT "targets_pkey" PRIMARY KEY (id),
  CONSTRAINT "targets_cache_key_key" UNIQUE (cache_key),
  CONSTRAINT "targets_id_ws_id_unique" UNIQUE (id, ws_id),
  CONSTRAINT "targets_upstream_id_fkey" FOREIGN KEY (upstream_id, ws_id)
    REFERENCES upstreams(id, ws_id) ON DELETE CASCADE,
  CONSTRAINT "targets_ws_id_fkey" FOREIGN KEY (ws_id) REFERENCES workspaces(id)
);
CREATE INDEX IF NOT EXISTS "targets_tags_idx" ON "targets" USING gin (tags);
CREATE INDEX IF NOT EXISTS "targets_target_idx" ON "targets" (target);
CREATE INDEX IF NOT EXISTS "targets_upstream_id_idx" ON "targets" (upstream_id);
DROP TRIGGER IF EXISTS "targets_sync_tags_trigger" ON "targets";
CREATE TRIGGER "targets_sync_tags_trigger"
  AFTER INSERT OR UPDATE OF tags OR DELETE ON "targets"
  FOR EACH ROW EXECUTE PROCEDURE sync_tags();

CREATE TABLE IF NOT EXISTS "sm_vaults" (
  "id" UUID NOT NULL,
  "ws_id" UUID,
  "prefix" TEXT,
  "name" TEXT NOT NULL,
  "description" TEXT,
  "config" JSONB NOT NULL,
  "created_at" TIMESTAMP WITH TIME ZONE DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  "updated_at" TIMESTAMP WITH TIME ZONE,
  "tags" TEXT[],
  CONSTRAINT "sm_vaults_pkey" PRIMARY KEY (id),
  CONSTRAINT "sm_vaults_id_ws_id_key" UNIQUE (id, ws_id),
  CONSTRAINT "sm_vaults_prefix_key" UNIQUE (prefix),
  CONSTRAINT "sm_vaults_prefix_ws_id_key" UNIQUE (prefix, ws_id),
  CONSTRAINT "sm_vaults_ws_id_fkey" FOREIGN KEY (ws_id) REFERENCES workspaces(id)
);
CREATE INDEX IF NOT EXISTS "sm_vaults_tags_idx" ON "sm_vaults" USING gin (tags);
DROP TRIGGER IF EXISTS "sm_vaults_sync_tags_trigger" ON "sm_vaults";
CREATE TRIGGER "sm_vaults_sync_tags_trigger"
  AFTER INSERT OR UPDATE OF tags OR DELETE ON "sm_vaults"
  FOR EACH ROW EXECUTE PROCEDURE sync_tags();

CREATE TABLE IF NOT EXISTS "key_sets" (
  "id" UUID NOT NULL,
  "name" TEXT,
  "tags" TEXT[],
  "ws_id" UUID,
  "created_at" TIMESTAMP WITH TIME ZONE,
  "updated_at" TIMESTAMP WITH TIME ZONE,
  CONSTRAINT "key_sets_pkey" PRIMARY KEY (id),
  CONSTRAINT "key_sets_name_key" UNIQUE (name),
  CONSTRAINT "key_sets_ws_id_fkey" FOREIGN KEY (ws_id) REFERENCES workspaces(id)
);
CREATE INDEX IF NOT EXISTS "key_sets_tags_idx" ON "key_sets" USING gin (tags);
DROP TRIGGER IF EXISTS "key_sets_sync_tags_trigger" ON "key_sets";
CREATE TRIGGER "key_sets_sync_tags_trigger"
  AFTER INSERT OR UPDATE OF tags OR DELETE ON "key_sets"
  FOR EACH ROW EXECUTE PROCEDURE sync_tags();

CREATE TABLE IF NOT EXISTS "keys" (
  "id" UUID NOT NULL,
  "set_id" UUID,
  "name" TEXT,
  "cache_key" TEXT,
  "ws_id" UUID,
  "kid" TEXT,
  "jwk" TEXT,
  "pem" JSONB,
  "tags" TEXT[],
  "created_at" TIMESTAMP WITH TIME ZONE,
  "updated_at" TIMESTAMP WITH TIME ZONE,
  CONSTRAINT "keys_pkey" PRIMARY KEY (id),
  CONSTRAINT "keys_cache_key_key" UNIQUE (cache_key),
  CONSTRAINT "keys_kid_set_id_key" UNIQUE (kid, set_id),
  CONSTRAINT "keys_name_key" UNIQUE (name),
  CONSTRAINT "keys_set_id_fkey" FOREIGN KEY (set_id) REFERENCES key_sets(id) ON DELETE CASCADE,
  CONSTRAINT "keys_ws_id_fkey" FOREIGN KEY (ws_id) REFERENCES workspaces(id)
);
CREATE INDEX IF NOT EXISTS "keys_fkey_key_sets" ON "keys" (set_id);
CREATE INDEX IF NOT EXISTS "keys_tags_idx" ON "keys" USING gin (tags);
DROP TRIGGER IF EXISTS "keys_sync_tags_trigger" ON "keys";
CREATE TRIGGER "keys_sync_tags_trigger"
  AFTER INSERT OR UPDATE OF tags OR DELETE ON "keys"
  FOR EACH ROW EXECUTE PROCEDURE sync_tags();

CREATE TABLE IF NOT EXISTS "tags" (
  "entity_id" UUID NOT NULL,
  "entity_name" TEXT,
  "tags" TEXT[],
  CONSTRAINT "tags_pkey" PRIMARY KEY (entity_id)
);
CREATE INDEX IF NOT EXISTS "tags_entity_name_idx" ON "tags" (entity_name);
CREATE INDEX IF NOT EXISTS "tags_tags_idx" ON "tags" USING gin (tags);

CREATE TABLE IF NOT EXISTS "clustering_data_planes" (
  "id" UUID NOT NULL,
  "hostname" TEXT NOT NULL,
  "ip" TEXT NOT NULL,
  "last_seen" TIMESTAMP WITH TIME ZONE DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  "config_hash" TEXT NOT NULL,
  "ttl" TIMESTAMP WITH TIME ZONE,
  "version" TEXT,
  "sync_status" TEXT NOT NULL DEFAULT 'unknown',
  "updated_at" TIMESTAMP WITH TIME ZONE DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  "labels" JSONB,
  "cert_details" JSONB,
  "rpc_capabilities" TEXT[],
  CONSTRAINT "clustering_data_planes_pkey" PRIMARY KEY (id)
);
CREATE INDEX IF NOT EXISTS "clustering_data_planes_ttl_idx" ON "clustering_data_planes" (ttl);
DROP TRIGGER IF EXISTS "clustering_data_planes_ttl_trigger" ON "clustering_data_planes";
CREATE TRIGGER "clustering_data_planes_ttl_trigger" AFTER INSERT ON "clustering_data_planes"
  FOR EACH STATEMENT EXECUTE PROCEDURE batch_delete_expired_rows('ttl');

CREATE TABLE IF NOT EXISTS "clustering_rpc_requests" (
  "id" BIGSERIAL,
  "node_id" UUID NOT NULL,
  "reply_to" UUID NOT NULL,
  "ttl" TIMESTAMP WITH TIME ZONE NOT NULL,
  "payload" JSON NOT NULL,
  CONSTRAINT "clustering_rpc_requests_pkey" PRIMARY KEY (id)
);
CREATE INDEX IF NOT EXISTS "clustering_rpc_requests_node_id_idx"
  ON "clustering_rpc_requests" (node_id);

CREATE TABLE IF NOT EXISTS "clustering_sync_version" (
  "version" BIGSERIAL,
  CONSTRAINT "clustering_sync_version_pkey" PRIMARY KEY (version)
);
