-- Operators as functions in the manner of pl.operator.
local operator = {
  add = function(a, b) return a + b end, sub = function(a, b) return a - b end,
  mul = function(a, b) return a * b end, div = function(a, b) return a / b end,
  mod = function(a, b) return a % b end, pow = function(a, b) return a ^ b end,
  unm = function(a) return -a end, concat = function(a, b) return a .. b end,
  len = function(a) return #a end, index = function(t, k) return t[k] end,
  eq = function(a, b) return a == b end, neq = function(a, b) return a ~= b end,
  lt = function(a, b) return a < b end, le = function(a, b) return a <= b end,
  gt = function(a, b) return a > b end, ge = function(a, b) return a >= b end,
  lnot = function(a) return not a end, land = function(a, b) return a and b end,
  lor = function(a, b) return a or b end, call = function(fn, ...) return fn(...) end,
  table = function(...) return { ... } end, match = function(a, b) return a:find(b) ~= nil end,
  nop = function() end,
}
operator.optable = {
  ["+"] = operator.add, ["-"] = operator.sub, ["*"] = operator.mul, ["/"] = operator.div,
  ["%"] = operator.mod, ["^"] = operator.pow, [".."] = operator.concat, ["()"] = operator.call,
  ["[]"] = operator.index, ["<"] = operator.lt, ["<="] = operator.le, [">"] = operator.gt,
  [">="] = operator.ge, ["=="] = operator.eq, ["~="] = operator.neq, ["#"] = operator.len,
  ["and"] = operator.land, ["or"] = operator.lor, ["{}"] = operator.table,
  ["~"] = operator.match, [""] = operator.nop,
}
return operator
