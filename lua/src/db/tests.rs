use std::{rc::Rc, sync::Arc};

use silverback_model::{entities, set::Kinds};
use silverback_store::Store;

use super::Database;
use crate::{
    state::State,
    testing::{exchange, run, state_with, texts},
};

/// A state over a store in a file of a folder, which goes with the folder.
fn with_store() -> (Rc<State>, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let kinds = Arc::new(Kinds::new(entities::schemas().iter().cloned()));
    let store = Store::sqlite(&folder.path().join("db"), &kinds).expect("a store");
    let database = Arc::new(Database::default());
    database.connect(Arc::new(store));
    (state_with(&database), folder)
}

/// What comes before each check: a consumer with two keys.
const BEFORE: &str = "
    local consumers, keys = kong.db.consumers, kong.db.keyauth_credentials
    local ann = assert(consumers:insert({ username = 'ann', tags = { 'a', 'b' } }))
    local one = assert(keys:insert({ key = 'one', consumer = { id = ann.id } }))
    local two = assert(keys:insert({ key = 'two', consumer = ann }, { ttl = 60 }))
    local function said(...)
      local err, fault = select(2, ...)
      return err, fault and fault.code, fault and fault.name, fault and fault.strategy
    end
";

#[track_caller]
fn check(source: &str, expect: &str) {
    let (state, _folder) = with_store();
    let ending = run(&state, &mut exchange(), &format!("{BEFORE} {source}"));
    assert_eq!(texts(ending), Ok(expect.to_owned()), "{source}");
}

#[test]
fn entities_are_read() {
    check("return consumers:select({ id = ann.id }).username", "ann");
    check("return consumers:select_by_username('ann').id == ann.id", "true");
    check("return consumers:select_by_username('bob')", "nil");
    check("return consumers:select(ann).custom_id, ann.custom_id", "nil nil");
    check("return consumers:select(ann, { nulls = true }).custom_id == ngx.null", "true");
    check(
        "return consumers:select(ann, { show_ws_id = true }).ws_id == kong.default_workspace",
        "true",
    );
    check("return keys:select_by_key('two').ttl <= 60, keys:select_by_key('one').ttl", "true nil");
    check("return keys:select_by_cache_key(keys:cache_key('one')).id == one.id", "true");
    check("return require('cjson').encode(ann.tags)", r#"["a","b"]"#);
}

#[test]
fn lists_are_read_in_pages() {
    let each = "local n = 0 for row, err, page in keys:each(1) do n = n + page end return n";
    check(each, "3");
    check("local rows, _, _, offset = keys:page(1) return #rows, #keys:page(1, offset)", "1 1");
    check("return #keys:page_for_consumer({ id = ann.id }), #keys:page()", "2 2");
    check("local n = 0 for _ in keys:each_for_consumer(ann) do n = n + 1 end return n", "2");
    check("return #consumers:page(10, nil, { tags = { 'a', 'x' }, tags_cond = 'or' })", "1");
    check("return #consumers:page(10, nil, { tags = { 'a', 'x' }, tags_cond = 'and' })", "0");
    check(
        "return said(keys:page(0))",
        "[sqlite] size must be an integer between 1 and 50000 9 invalid size sqlite",
    );
    check(
        "return said(keys:page(10, 'x!'))",
        "[sqlite] 'x!' is not a valid offset: bad base64 encoding 7 invalid offset sqlite",
    );
}

#[test]
fn entities_are_written() {
    check("return consumers:update(ann, { custom_id = '7' }).custom_id", "7");
    check("return consumers:update_by_username('ann', { username = 'eve' }).username", "eve");
    check("return consumers:upsert({ id = ann.id }, { username = 'x' }).tags", "nil");
    check("return consumers:upsert_by_username('bob', { custom_id = 'b' }).username", "bob");
    check("return keys:delete_by_key('one'), keys:select(one), #keys:page()", "true nil 1");
    check("return keys:delete({ id = one.id }), keys:delete({ id = one.id })", "true true");
    check("return consumers:delete(ann), #keys:page()", "true 0");
    check("return keys:truncate(), #keys:page()", "true 0");
}

#[test]
fn what_is_wrong_is_said_as_kong_says_it() {
    check(
        "return said(consumers:insert({ username = 'ann' }))",
        "[sqlite] UNIQUE violation detected on '{username=\"ann\"}' 5 \
         unique constraint violation sqlite",
    );
    check(
        "return said(consumers:insert({ name = 'x', username = 'y' }))",
        "[sqlite] schema violation (name: unknown field) 2 schema violation sqlite",
    );
    check(
        "local key = { id = '00000000-0000-4000-8000-000000000000' }
         local _, err, fault = keys:update(key, { key = 'x' })
         return err, fault.fields.id == key.id",
        "[sqlite] could not find the entity with primary key \
         '{id=\"00000000-0000-4000-8000-000000000000\"}' true",
    );
    check(
        "return said(consumers:select({ id = 'x' }))",
        "[sqlite] invalid primary key: '{id=\"expected a valid UUID\"}' 1 invalid primary key \
         sqlite",
    );
    check(
        "return said(consumers:insert({ username = 'z' }, { ttl = 5 }))",
        "[sqlite] invalid option (ttl: cannot be used with 'consumers') 11 invalid options sqlite",
    );
    check("return pcall(consumers.select, consumers, 'x')", "false primary_key must be a table");
    check("return pcall(keys.select_by_key, keys, 5)", "false key must be a string");
}

#[test]
fn schemas_are_known() {
    check(
        "return consumers.schema.name, consumers.schema.fields.username.unique",
        "consumers true",
    );
    check("return keys.schema.fields.consumer.schema == consumers.schema", "true");
    check(
        "local entity = { id = ann.id, created_at = 1, updated_at = 1 }
         local ok, problems = consumers.schema:validate(entity)
         return ok, consumers.schema:errors_to_string(problems)",
        "nil at least one of these fields must be non-empty: 'custom_id', 'username'",
    );
    check(
        "return kong.db.strategy, kong.db.nothing, kong.db.daos.routes ~= nil",
        "sqlite nil true",
    );
    check("local n = 0 for _ in pairs(kong.db.daos) do n = n + 1 end return n > 20", "true");
}

/// Plugins make schemas of their own, with functions that are called back.
#[test]
fn schemas_are_made() {
    let make = "local schema = assert(require('kong.db.schema').new {
                  name = 'x',
                  fields = {
                    { a = { type = 'integer', default = 1, between = { 0, 9 } } },
                    { b = { type = 'string', custom_validator = function(b)
                        if b == 'bad' then return nil, 'it is bad' end
                        return true
                      end } },
                  },
                })";
    check(&format!("{make} return (schema:validate {{ a = 5, b = 'good' }})"), "true");
    check(
        &format!(
            "{make} local _, problems, words = schema:validate {{ a = 10, b = 'bad' }}
             return problems.a, problems.b, words"
        ),
        "value should be between 0 and 9 it is bad a: value should be between 0 and 9; \
         b: it is bad",
    );
    check(&format!("{make} return schema:process_auto_fields({{}}, 'insert').a"), "1");
    check(&format!("{make} return schema.fields.a.type, schema.primary_key[1]"), "integer id");
    check(
        "return require('kong.db.schema').new { fields = 5 }",
        "nil expected an array of tables with one key each",
    );
}

/// Without a database nothing is written.
#[test]
fn writes_are_refused_without_a_database() {
    let kinds = Arc::new(Kinds::new(entities::schemas().iter().cloned()));
    let database = Arc::new(Database::default());
    database.connect(Arc::new(Store::memory(kinds)));
    let source = "local _, err, fault = kong.db.consumers:insert({ username = 'x' })
                  local nobody = { id = kong.default_workspace }
                  return err, fault.code, kong.db.consumers:delete(nobody)";
    let state = state_with(&database);
    let ending = run(&state, &mut exchange(), source);
    let expect = "[off] cannot create 'consumers' entities when not using a database 12 true";
    assert_eq!(texts(ending), Ok(expect.to_owned()));
}
