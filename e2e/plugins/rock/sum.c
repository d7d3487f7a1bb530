/* rocked.sum: a module in C. */
#include <lauxlib.h>
#include <lua.h>

static int sum(lua_State *L) {
  lua_pushnumber(L, luaL_checknumber(L, 1) + luaL_checknumber(L, 2));
  return 1;
}

int luaopen_rocked_sum(lua_State *L) {
  lua_pushcfunction(L, sum);
  return 1;
}
