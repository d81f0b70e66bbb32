-- Makes the requests of tests/benchmarks/load/traffic.py for wrk, and prints what came of them as one line of JSON.
-- Its words are: kind, run, accounts, batch size, file of paths, the caller's key. A word that is not needed is "-".

local threads = 0

function setup(thread)
  thread:set("thread_number", threads)
  threads = threads + 1
end

local kind, run, accounts, batch_size
local paths, count = {}, 0
local format, random, concat = string.format, math.random, table.concat

local head = " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"

function init(args)
  kind, run = args[1], args[2] .. "-" .. thread_number
  accounts, batch_size = tonumber(args[3]), tonumber(args[4])
  math.randomseed(thread_number + 1)
  local authorization = args[6] == "-" and "" or "Authorization: Bearer " .. args[6] .. "\r\n"
  head = head .. authorization
  if kind == "paths" then
    for line in io.lines(args[5]) do
      paths[#paths + 1] = "GET " .. line .. " HTTP/1.1\r\nHost: localhost\r\n" .. authorization .. "\r\n"
    end
  end
end

local function payment(n)
  local is_deposit = kind == "deposits" or n % 2 == 1
  local body = format('{"user_id":%d,"%s":%.2f}', random(accounts), is_deposit and "deposit" or "amount",
                      random(100, 999) / 100)
  return format("POST /api/v1/payments/%s%sIdempotency-Key: %s-%d\r\nContent-Length: %d\r\n\r\n%s",
                is_deposit and "deposit" or "withdraw", head, run, n, #body, body)
end

local function batch(n)
  local items = {}
  for i = 1, batch_size do
    items[i] = format('{"type":"%s","user_id":%d,"amount":%.2f,"idempotency_key":"%s-%d-%d"}',
                      i % 2 == 1 and "deposit" or "withdraw", random(accounts), random(100, 999) / 100, run, n, i)
  end
  local body = '{"payments":[' .. concat(items, ",") .. "]}"
  return format("POST /api/v1/payments/batch%sContent-Length: %d\r\n\r\n%s", head, #body, body)
end

function request()
  count = count + 1
  if kind == "paths" then
    return paths[random(#paths)]
  elseif kind == "batches" then
    return batch(count)
  end
  return payment(count)
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(format('{"requests":%d,"failures":%d,"seconds":%.6f,"p50":%.3f,"p99":%.3f,"max":%.3f}\n',
                  summary.requests, errors.connect + errors.read + errors.write + errors.status + errors.timeout,
                  summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
                  latency.max / 1e3))
end
