-- What wrk sends: `-- BODY-FILE SEED HEADER…`. Where the body holds the mark, each request has a UUID of its own there:
-- eight digits that count, and the seed and the thread's number, so that neither runs nor threads meet.
-- Only the digits that change are written: about as cheap as sending the same bytes again.

local ffi = require("ffi")

local MARK = "00000000-0000-4000-8000-000000000000"
local ZERO, NINE, A, F = 48, 57, 97, 102

local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(args)
  local file = assert(io.open(args[1], "rb"))
  wrk.method = "POST"
  wrk.body = file:read("*a")
  file:close()
  for i = 3, #args do
    local name, value = args[i]:match("^([^:]+): (.*)$")
    wrk.headers[name] = value
  end
  if not wrk.body:find(MARK, 1, true) then return end

  wrk.body = wrk.body:gsub((MARK:gsub("-", "%%-")), "00000000-0000-4000-8000-" .. args[2] .. string.format("%04x", number))
  local text = wrk.format()
  local length = #text
  local bytes = ffi.new("char[?]", length)
  ffi.copy(bytes, text, length)
  local last = text:find("00000000-0000-4000-8000-", 1, true) - 1 + 7

  request = function()
    local at = last
    while bytes[at] == F do
      bytes[at] = ZERO
      at = at - 1
    end
    bytes[at] = bytes[at] == NINE and A or bytes[at] + 1
    return ffi.string(bytes, length)
  end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    "figures %d %d %d %d %d %d\n",
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout
  ))
end
