#!/bin/bash
# A worker of the job status service in bash and curl. It runs a command for each job of a type:
#
#   JOB_STATUS_URL=http://127.0.0.1:3000 JOB_STATUS_TOKEN=… ./worker.sh word-count ./count-words
#
# - standard input is the input, as it was submitted; JOB_ID, JOB_TYPE and JOB_ATTEMPT are in the environment
# - standard output becomes the result, with the media type RESULT_TYPE; without any output there is none
# - a line like "40 resizing" on file descriptor 3 reports 40 percent and a message
# - exit code 0: succeeded; 65 (EX_DATAERR): failed for good; any other: failed, another attempt may succeed. The last
#   line of standard error is the message
# - it has a process group of its own, which gets SIGTERM when the job is cancelled, and SIGKILL some seconds later
#
# The token needs the scope jobs:work; JOB_STATUS_TOKEN_FILE names a file with it, which another program may renew.
set -uo pipefail

url=${JOB_STATUS_URL:-http://127.0.0.1:3000}
type=${1:?usage: worker.sh TYPE COMMAND [ARGUMENT…]}
shift
command=("$@")
lease_seconds=${LEASE_SECONDS:-30}
result_type=${RESULT_TYPE:-application/octet-stream}
part_bytes=$((8 * 1024 * 1024))
beat_seconds=$((lease_seconds / 3 > 0 ? lease_seconds / 3 : 1))

folder=$(mktemp -d)
answer=$folder/answer
mkfifo "$folder/progress"
trap 'rm -rf "$folder"' EXIT

stopping=0
waiting=''
running=''
# Bash runs a trap only after the command that it waits for, so that long ones run in the background.
on_stop () {
  stopping=1
  [[ -z $waiting ]] || kill "$waiting" 2> /dev/null
  end_run stop
}
trap on_stop TERM INT

reason=''
end_began=0
# Ends the run early: "stop", "cancel" or "lost".
end_run () {
  [[ -n $running ]] || return 0
  [[ -n $reason ]] || end_began=$SECONDS
  reason=${reason:-$1}
  kill "-$( ((SECONDS - end_began > 5)) && echo KILL || echo TERM)" -- "-$running" 2> /dev/null
}

token () {
  if [[ -n ${JOB_STATUS_TOKEN_FILE:-} ]]; then cat "$JOB_STATUS_TOKEN_FILE"; else printf %s "${JOB_STATUS_TOKEN:?}"; fi
}

# Becomes a request, which prints its status; the response is in $answer. The token is no argument, because other users
# can read those.
become_request () {
  exec curl -sS -o "$answer" -w '%{http_code}' -K <(printf 'header = "Authorization: Bearer %s"\n' "$(token)") "$@"
}

# Makes a request on the job, and prints its status. All of them may be repeated: curl does so while the service is away
# or overloaded.
report () (
  path=$1
  shift
  become_request --max-time 60 --retry 8 --retry-all-errors -H "Lease-Token: $lease_token" \
    "$url/api/v1/worker/jobs/$job_id/$path" "$@"
)

post () {
  report "$1" -H 'Content-Type: application/json' -d "$2"
}

# A string of JSON.
quote () {
  local text=${1//\\/\\\\}
  text=${text//\"/\\\"}
  printf '"%s"' "${text//[[:cntrl:]]/ }"
}

# A field of the claim: the first of that name, for the input comes last, and quotes within strings are escaped.
field () {
  grep -o "\"$1\":[^,}]*" "$folder/claim" | head -n 1 | sed 's/^[^:]*://; s/^"//; s/"$//'
}

see () {
  case $1 in
    200) ! grep -q '"cancelRequested":true' "$answer" || end_run cancel ;;
    404 | 409 | 410) end_run lost ;;
    *) echo "$job_id: a report was answered with $1" >&2 ;;
  esac
}

send_progress () {
  local percent=${1%% *} message=''
  [[ $1 != *' '* ]] || message=${1#* }
  [[ $percent =~ ^[0-9]+(\.[0-9]+)?$ ]] || return 0
  see "$(post progress "{\"percent\":$percent,\"message\":$(quote "$message")}")"
}

# Reads the progress of the command until it ends, reports the newest line once a second, and keeps the lease.
follow () {
  local line newest='' status reported_at=$SECONDS
  while true; do
    IFS= read -r -t "$([[ -n $newest$reason ]] && echo 1 || echo "$beat_seconds")" -u "$progress" line
    status=$?
    [[ $status != 0 ]] || newest=$line
    if [[ -n $reason ]]; then
      end_run "$reason"
    elif [[ -n $newest ]] && { ((status > 0)) || ((SECONDS > reported_at)); }; then
      send_progress "$newest"
      newest=''
      reported_at=$SECONDS
    elif ((SECONDS - reported_at >= beat_seconds)); then
      see "$(post progress '{}')"
      reported_at=$SECONDS
    fi
    # Neither a line nor out of time: the command has closed it.
    ((status == 0 || status > 128)) || return 0
  done
}

# Uploads the result in parts, from where the service has it: a response may have been lost.
upload () {
  local size offset=0 status
  size=$(stat -c %s "$folder/result")
  while ((offset < size)); do
    status=$(tail -c "+$((offset + 1))" "$folder/result" | head -c "$part_bytes" |
      report "result?offset=$offset" -X PUT -H "Content-Type: $result_type" --data-binary @-)
    [[ $status == 200 ]] || grep -q '"code":"OFFSET_MISMATCH"' "$answer" || return 1
    offset=$(grep -o '"offset":[0-9]*' "$answer" | grep -o '[0-9]*')
  done
  ((size == 0)) || printf '"sizeBytes":%s' "$size"
}

finish () {
  local code=$1 size message retryable=true
  case $reason in
    lost) return 0 ;;
    stop) post release '{}' > /dev/null; return 0 ;;
    cancel) post fail '{"error":{"code":"STOPPED","message":"The job was cancelled."}}' > /dev/null; return 0 ;;
  esac
  if [[ $code == 0 ]]; then
    if size=$(upload); then post complete "{$size}" > /dev/null; fi
    return 0
  fi
  message=$(quote "$(tail -n 1 "$folder/errors")")
  [[ $code != 65 ]] || retryable=false
  post fail "{\"error\":{\"code\":\"EXIT_$code\",\"message\":$message},\"retryable\":$retryable}" > /dev/null
}

run_job () {
  job_id=$(field jobId)
  lease_token=$(field leaseToken)
  reason=''
  [[ $(report input -H 'Accept: */*') == 200 ]] || return 0
  mv "$answer" "$folder/input"
  JOB_ID=$job_id JOB_TYPE=$type JOB_ATTEMPT=$(field attempt) setsid "${command[@]}" \
    < "$folder/input" > "$folder/result" 2> "$folder/errors" 3> "$folder/progress" &
  running=$!
  exec {progress}< "$folder/progress"
  ((stopping == 0)) || end_run stop
  follow
  wait "$running"
  local code=$?
  running=''
  exec {progress}<&-
  cat "$folder/errors" >&2
  finish "$code"
}

claim_job () {
  local status seconds=$SECONDS
  become_request --max-time 70 -H 'Content-Type: application/json' "$url/api/v1/worker/claim" \
    -d "{\"types\":[$(quote "$type")],\"leaseSeconds\":$lease_seconds,\"wait\":55}" > "$folder/status" &
  waiting=$!
  wait "$waiting"
  waiting=''
  status=$(< "$folder/status")
  case $status in
    200) mv "$answer" "$folder/claim"; return 0 ;;
    400 | 401 | 403) echo "the claim was answered with $status: $(< "$answer")" >&2; exit 1 ;;
  esac
  # A service that drains does not hold a claim, and one that restarts answers none.
  ((stopping || SECONDS > seconds + 1)) || sleep $((1 + RANDOM % 2))
  return 1
}

while ((stopping == 0)); do
  ! claim_job || run_job
done
