-- Uses up units of several rates of one caller, all or none. The same algorithm as `spend` in budgets.py.
-- KEYS: one for each rate. ARGV: for each rate its quota, its window in seconds, and the units.
-- Returns whether they were used up, and for each rate the units left, the microseconds until more is there, and
-- whether it refuses. The time is that of the server, the same for all processes.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local rounding = 0.000001
local answer, ends, refused = {1}, {}, false
for i, key in ipairs(KEYS) do
    local quota, window, units = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
    local unit = window / quota
    local begin = math.min(math.max(tonumber(redis.call('GET', key) or now), now), now + window)
    local finish = begin + units * unit
    local late = finish - (now + window)
    local this_refused = late > rounding * unit + rounding
    local used = this_refused and begin - now or finish - now
    local left = math.floor((window - used) / unit + rounding)
    local wait = 0
    if this_refused then
        wait, refused = late, true
    elseif left < quota then
        wait = (left + 1) * unit - (window - used)
    end
    ends[i] = finish
    answer[#answer + 1] = left
    answer[#answer + 1] = math.ceil(wait * 1000000)
    answer[#answer + 1] = this_refused and 1 or 0
end
if refused then
    answer[1] = 0
    return answer
end
for i, key in ipairs(KEYS) do
    redis.call('SET', key, string.format('%.6f', ends[i]), 'PX', math.max(1, math.ceil((ends[i] - now) * 1000)))
end
return answer
