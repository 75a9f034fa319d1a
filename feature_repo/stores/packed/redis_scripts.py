"""What a Redis server does for packed rows by itself, in Lua: all of one script or nothing of it.

A row's header tells both its times, little-endian. Numbers of Lua are exact up to 2**53: the year 2255.
"""

import struct

from feature_repo.stores.packed.layout import EVENT_AT
from feature_repo.stores.packed.sqlite_rows import Exchange

NEWEST = f"""
if ARGV[1] ~= '' then redis.call('HINCRBY', KEYS[2], ARGV[1], 1) end
for i = 2, #ARGV, 2 do
  local old = redis.call('HGET', KEYS[1], ARGV[i])
  local stays = false
  if old and string.sub(old, 1, 8) == string.sub(ARGV[i + 1], 1, 8) then
    local new_event, new_created = struct.unpack('<i8i8', ARGV[i + 1], {EVENT_AT + 1})
    local old_event, old_created = struct.unpack('<i8i8', old, {EVENT_AT + 1})
    stays = new_event < old_event or (new_event == old_event and new_created ~= 0
      and old_created ~= 0 and new_created < old_created)
  end
  if not stays then redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
end
"""
# Views of a key, each with the event time that its row must have and the new row, are exchanged all or none.
SAME = f"""
local views, refused = tonumber(ARGV[1]), {{}}
for i = views + 2, #ARGV, 1 + 2 * views do
  local same = true
  for v = 1, views do
    local was, row = ARGV[i + 2 * v - 1], ARGV[i + 2 * v]
    if row ~= '' then
      local old = redis.call('HGET', KEYS[v + 1], ARGV[i])
      local found = ''
      if old then found = string.sub(old, {EVENT_AT + 1}, {EVENT_AT + 8}) end
      same = same and found == was
    end
  end
  if same then
    for v = 1, views do
      local row = ARGV[i + 2 * v]
      if row ~= '' then
        redis.call('HSET', KEYS[v + 1], ARGV[i], row)
        redis.call('HINCRBY', KEYS[1], ARGV[v + 1], 1)
      end
    end
  else
    refused[#refused + 1] = ARGV[i]
  end
end
return refused
"""
# Times in microseconds, as text: the later one stays.
LATER = """
local old = redis.call('HGET', KEYS[1], ARGV[1])
if not old or tonumber(old) < tonumber(ARGV[2]) then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
"""


def expected_and_new(change: Exchange, view: str) -> tuple[bytes, bytes]:
    """Event time that a view's row must have, as it stands in it, and the new row; empty for no change."""
    if view not in change.rows:
        return b"", b""
    row, was = change.rows[view]
    return (b"" if was is None else struct.pack("<q", was)), row[3]
