-- One request for all connections, and one line of figures at the end for the program that runs us.
wrk.method = os.getenv("BENCH_METHOD")
local size = tonumber(os.getenv("BENCH_BODY_BYTES"))
if size > 0 then
    wrk.body = string.rep("x", size)
end

function done(summary, latency)
    local errors = summary.errors
    local failures = errors.connect + errors.read + errors.write + errors.timeout + errors.status
    io.write(string.format("figures %d %d %d %d %d %d\n", summary.requests, summary.duration, summary.bytes,
        failures, latency:percentile(50), latency:percentile(99)))
end
