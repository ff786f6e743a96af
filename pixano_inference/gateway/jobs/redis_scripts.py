"""What the Redis store does in one step, as Lua; Redis runs a script as a whole, so gateways cannot interleave.

Keys, all below one prefix: ``job:<id>`` (hash), ``media:<id>`` and ``masks:<id>`` (lists of chunks),
``queue:<model>`` (sorted by creation), ``leases`` (sorted by when they run out), ``status:<status>`` (sorted by when
they expire; unfinished ones by creation), ``unfinished:<key id>`` (set), ``turns`` (hash: when a key's last job was
taken up), ``media_bytes`` (counter), ``events`` (channel).
The prefix is a hash tag, which keeps all of them in one slot. Times are the server's: the clocks of gateways differ.
"""

from __future__ import annotations

PREFIX = "{pixano-jobs}:"

_COMMON = """
local P = KEYS[1]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local function text(number) return string.format('%.6f', number) end
local function get(id, name) return redis.call('HGET', P .. 'job:' .. id, name) end
local function set(id, ...) redis.call('HSET', P .. 'job:' .. id, ...) end
local function unset(id, ...) redis.call('HDEL', P .. 'job:' .. id, ...) end
local function unfinished(id)
    local status = get(id, 'status')
    return status == 'queued' or status == 'running'
end
local function mine(id, owner) return unfinished(id) and get(id, 'owner') == owner end
local function move(id, status, score)
    local old = get(id, 'status')
    if old then redis.call('ZREM', P .. 'status:' .. old, id) end
    set(id, 'status', status)
    redis.call('ZADD', P .. 'status:' .. status, text(score), id)
end
local function lease(id, seconds) redis.call('ZADD', P .. 'leases', text(now + seconds), id) end
local function requeue(id, delay, forgive)
    if forgive and get(id, 'status') == 'running' then redis.call('HINCRBY', P .. 'job:' .. id, 'attempts', -1) end
    move(id, 'queued', tonumber(get(id, 'created')))
    unset(id, 'owner', 'started', 'frames_total')
    set(id, 'frames_done', '0', 'not_before', text(now + delay))
    redis.call('ZREM', P .. 'leases', id)
    redis.call('DEL', P .. 'masks:' .. id)
    redis.call('ZADD', P .. 'queue:' .. get(id, 'model'), get(id, 'created'), id)
    redis.call('PUBLISH', P .. 'events', 'queued')
end
local function finish(id, ttl, status, detail, error_status, metadata)
    redis.call('ZREM', P .. 'queue:' .. get(id, 'model'), id)
    redis.call('ZREM', P .. 'leases', id)
    redis.call('SREM', P .. 'unfinished:' .. get(id, 'key_id'), id)
    redis.call('DECRBY', P .. 'media_bytes', get(id, 'media_bytes'))
    redis.call('DEL', P .. 'media:' .. id)
    unset(id, 'owner', 'request')
    set(id, 'media_bytes', '0', 'finished', text(now), 'metadata', metadata)
    if detail ~= '' then set(id, 'detail', detail) end
    if error_status ~= '' then set(id, 'error_status', error_status) end
    move(id, status, now + ttl)
    redis.call('EXPIRE', P .. 'job:' .. id, math.ceil(ttl) + 1)
    if status == 'completed' then
        redis.call('EXPIRE', P .. 'masks:' .. id, math.ceil(ttl) + 1)
    else
        redis.call('DEL', P .. 'masks:' .. id)
    end
end
"""

ADD = (
    _COMMON
    + """
local id, key_id, model, request, media_bytes = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local waiting = redis.call('SCARD', P .. 'unfinished:' .. key_id)
local stored = tonumber(redis.call('GET', P .. 'media_bytes') or '0')
if waiting >= tonumber(ARGV[6]) or stored + tonumber(media_bytes) > tonumber(ARGV[7]) then
    return {0, waiting, stored}
end
set(id, 'job_id', id, 'key_id', key_id, 'model', model, 'request', request, 'media_bytes', media_bytes,
    'attempts', '0', 'frames_done', '0', 'created', text(now), 'not_before', '0', 'metadata', '{}')
move(id, 'queued', now)
redis.call('PERSIST', P .. 'media:' .. id)
redis.call('SADD', P .. 'unfinished:' .. key_id, id)
redis.call('INCRBY', P .. 'media_bytes', media_bytes)
redis.call('ZADD', P .. 'queue:' .. model, text(now), id)
redis.call('PUBLISH', P .. 'events', 'queued')
return {1, waiting, stored}
"""
)

CLAIM = (
    _COMMON
    + """
local best, best_turn, best_score, best_model
local turns = {}
for position = 3, #ARGV do
    local queue = redis.call('ZRANGE', P .. 'queue:' .. ARGV[position], 0, 1023, 'WITHSCORES')
    for entry = 1, #queue, 2 do
        local id, score = queue[entry], tonumber(queue[entry + 1])
        if tonumber(get(id, 'not_before') or '0') <= now then
            local key_id = get(id, 'key_id')
            turns[key_id] = turns[key_id] or tonumber(redis.call('HGET', P .. 'turns', key_id) or '0')
            local turn = turns[key_id]
            if not best or turn < best_turn or (turn == best_turn and score < best_score) then
                best, best_turn, best_score, best_model = id, turn, score, ARGV[position]
            end
        end
    end
end
if not best then return false end
redis.call('HSET', P .. 'turns', get(best, 'key_id'), text(now))
redis.call('ZREM', P .. 'queue:' .. best_model, best)
set(best, 'owner', ARGV[1])
lease(best, tonumber(ARGV[2]))
return best
"""
)

BEGIN = (
    _COMMON
    + """
local id = ARGV[1]
if not mine(id, ARGV[2]) then return 0 end
move(id, 'running', tonumber(get(id, 'created')))
set(id, 'started', text(now))
redis.call('HINCRBY', P .. 'job:' .. id, 'attempts', 1)
lease(id, tonumber(ARGV[3]))
return 1
"""
)

PROGRESS = (
    _COMMON
    + """
local id = ARGV[1]
if not mine(id, ARGV[2]) then return 0 end
lease(id, tonumber(ARGV[3]))
if ARGV[4] ~= '' then set(id, 'frames_done', ARGV[4]) end
if ARGV[5] ~= '' then set(id, 'frames_total', ARGV[5]) end
if ARGV[6] ~= '' then redis.call('RPUSH', P .. 'masks:' .. id, ARGV[6]) end
return 1
"""
)

FINISH = (
    _COMMON
    + """
local id = ARGV[1]
if not mine(id, ARGV[2]) then return 0 end
finish(id, tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6], ARGV[7])
return 1
"""
)

CANCEL = (
    _COMMON
    + """
local id = ARGV[1]
if not unfinished(id) then return 0 end
finish(id, tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5], ARGV[6])
redis.call('PUBLISH', P .. 'events', 'canceled ' .. id)
return 1
"""
)

RELEASE = (
    _COMMON
    + """
local id = ARGV[1]
if not mine(id, ARGV[2]) then return 0 end
requeue(id, tonumber(ARGV[3]), ARGV[4] == '1')
return 1
"""
)

SWEEP = (
    _COMMON
    + """
local ttl = tonumber(ARGV[1])
local latest = text(now - tonumber(ARGV[2]))
local waiting = redis.call('ZRANGEBYSCORE', P .. 'status:queued', '-inf', latest, 'LIMIT', 0, 256)
for _, id in ipairs(waiting) do
    if not get(id, 'owner') then finish(id, ttl, ARGV[8], ARGV[9], ARGV[10], ARGV[11]) end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'leases', '-inf', text(now), 'LIMIT', 0, 256)) do
    if not unfinished(id) then
        redis.call('ZREM', P .. 'leases', id)
    elseif get(id, 'status') == 'running' and tonumber(get(id, 'attempts')) >= tonumber(ARGV[3]) then
        finish(id, ttl, ARGV[4], ARGV[5], ARGV[6], ARGV[7])
    else
        requeue(id, 0, false)
    end
end
for _, status in ipairs({'completed', 'failed', 'canceled'}) do
    local expired = redis.call('ZRANGEBYSCORE', P .. 'status:' .. status, '-inf', text(now), 'LIMIT', 0, 256)
    for _, id in ipairs(expired) do
        redis.call('DEL', P .. 'job:' .. id, P .. 'masks:' .. id)
        redis.call('ZREM', P .. 'status:' .. status, id)
    end
end
return 1
"""
)
