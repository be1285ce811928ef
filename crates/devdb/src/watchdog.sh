# Stops PostgreSQL when the process that started it is gone. See watchdog.rs.
#
# Standard input: a pipe. Each line is the id of the process to stop in the end,
#                 in place of the one before; an empty line means none.
# $1:             the directory to remove in the end; empty to keep it.

# Neither the interrupt key nor a closed terminal must end the watchdog early.
trap '' HUP INT TERM

pid=
while read -r line; do pid=$line; done
# Here the pipe has ended: its only writer has closed it, or has died.

signal() { [ -z "$pid" ] || kill -s "$1" "$pid" 2>/dev/null; }
pause() { sleep 0.05 2>/dev/null || sleep 1; }

# Signal 0 only asks whether the process is still there.
wait_until_gone() {
    tries=$1
    while [ "$tries" -gt 0 ] && [ -n "$pid" ] && signal 0; do
        pause
        tries=$((tries - 1))
    done
}

signal INT # fast shutdown: end the sessions, write everything out
wait_until_gone 200
signal QUIT # immediate shutdown: leave the rest to the next start's recovery
wait_until_gone 100
signal KILL

# A last straggler may still write a file while its directory is being removed.
tries=20
while [ -n "$1" ] && [ -e "$1" ] && [ "$tries" -gt 0 ]; do
    rm -rf -- "$1" 2>/dev/null || pause
    tries=$((tries - 1))
done
