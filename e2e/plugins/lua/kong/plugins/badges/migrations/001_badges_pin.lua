return {
  postgres = {
    up = [[
      DO $$
      BEGIN
        ALTER TABLE IF EXISTS ONLY "badges" ADD "pin" TEXT;
      EXCEPTION WHEN DUPLICATE_COLUMN THEN
        -- Do nothing, it is there already.
      END;
      $$;
    ]],
    teardown = function(connector)
      local rows = assert(connector:query "SELECT count(*)::int4 AS count FROM badges")
      assert(connector:query(("COMMENT ON TABLE badges IS 'had %d'"):format(rows[1].count)))
    end,
  },
}
