-- What wrk runs for loadtests.generators.wrk, which puts calls, order and first before it.
-- calls: {method, path, headers, body}; order: which call comes when; {n} in a body is a number of its own.

local prepared, position, number = {}, 0, first

function init(args)
  for index, call in ipairs(calls) do
    if not call[4] or not call[4]:find("{n}", 1, true) then
      prepared[index] = wrk.format(unpack(call, 1, 4))
    end
  end
end

function request()
  position = position % #order + 1
  local index = order[position]
  if prepared[index] then
    return prepared[index]
  end
  number = number + 1
  local method, path, headers, body = unpack(calls[index], 1, 4)
  return wrk.format(method, path, headers, (body:gsub("{n}", number)))
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %.6f, "p50_ms": %.6f, "p99_ms": %.6f, "errors": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
