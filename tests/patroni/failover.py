"""Fails a cluster over while clients POST tasks; see `run`."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import psycopg
from cluster import PASSWORD, Cluster, free_port, wait

PRODUCERS = 8
WORKERS = 3


class Fleet:
    """An API and workers over one address."""

    def __init__(self, program, cluster, address):
        self.program, self.cluster, self.address = program, cluster, address
        self.base_url = f"http://127.0.0.1:{free_port()}"
        self.processes = []

    def environment(self):
        return {**os.environ, "DATABASE_URL": self.address, "LONGHAUL_LOG": "info"}

    def start(self):
        subprocess.run([self.program, "migrate"], env=self.environment(), check=True, stdout=subprocess.DEVNULL)
        listen = self.base_url.removeprefix("http://")
        for number, arguments in enumerate([["serve", "--listen", listen], *[["work"]] * WORKERS]):
            log = (self.cluster.directory / f"{arguments[0]}{number}.log").open("ab")
            self.processes.append(
                subprocess.Popen([self.program, *arguments], env=self.environment(), stdout=log, stderr=log)
            )
        wait("the API", lambda: urllib.request.urlopen(f"{self.base_url}/health/ready", timeout=2).status == 200)

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(timeout=60)


class Producers:
    """Clients that POST one task after the other, and remember what was accepted when."""

    def __init__(self, base_url):
        self.base_url, self.accepted, self.stopped = base_url, [], threading.Event()
        self.threads = [threading.Thread(target=self.produce) for _ in range(PRODUCERS)]
        for thread in self.threads:
            thread.start()

    def post(self):
        request = urllib.request.Request(
            f"{self.base_url}/api/backgroundtasks",
            data=json.dumps({"Type": "Greet", "Parameters": {"Name": "Ada"}}).encode(),
            headers={"Content-Type": "application/json"},
        )
        began = time.time()
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                task = json.load(answer)["Self"].rsplit("_", 1)[1]
            self.accepted.append((began, time.time(), task))
        except (OSError, urllib.error.URLError, ValueError):
            pass

    def produce(self):
        while not self.stopped.is_set():
            self.post()
            time.sleep(0.02)

    def first_after(self, moment):
        """When the first request that was sent from now on was accepted. The others may still wait
        for answers to what they sent before, so there are new ones all the time."""

        def is_there():
            self.threads.append(threading.Thread(target=self.post))
            self.threads[-1].start()
            return min((answered for began, answered, _ in list(self.accepted) if began >= moment), default=None)

        return wait("a 202 of the new primary", is_there, pause=0.05)

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join()


def switch_over(cluster, old):
    others = [node for node in cluster.nodes if node is not old]
    with old.connect() as connection:
        query = "SELECT application_name FROM pg_stat_replication WHERE sync_state = 'sync'"
        (candidate,) = connection.execute(query).fetchone()
    cluster.ask_patroni("POST", "/switchover", {"leader": old.name, "candidate": candidate})
    return others


def kill(cluster, old):
    old.signal(signal.SIGKILL)
    return [node for node in cluster.nodes if node is not old]


def freeze(cluster, old):
    old.signal(signal.SIGSTOP)
    return [node for node in cluster.nodes if node is not old]


# What happens to the primary, over HAProxy or not, synchronously or not.
SCENARIOS = {
    "switchover": (switch_over, False, True),
    "kill": (kill, False, True),
    "freeze": (freeze, False, True),
    "haproxy": (kill, True, True),
    "asynchronous": (kill, False, False),
}


def play(name, program, cluster):
    fault, proxied, synchronous = SCENARIOS[name]
    cluster.ask_patroni("PATCH", "/config", {"synchronous_mode": synchronous})
    cluster.wait_for_members()
    fleet = Fleet(program, cluster, cluster.start_haproxy() if proxied else cluster.address())
    fleet.start()
    producers = Producers(fleet.base_url)
    time.sleep(5)
    old = cluster.primary()
    failed = time.time()
    others = fault(cluster, old)
    new = cluster.primary(others)
    promoted = time.time()
    first = producers.first_after(promoted)
    time.sleep(5)
    producers.stop()
    ids = [task for _, _, task in producers.accepted]

    def ended():
        with new.connect_to("tasks") as connection:
            query = "SELECT count(*) FROM longhaul.tasks WHERE state NOT IN ('Succeeded', 'Failed', 'Cancelled')"
            return connection.execute(query).fetchone() == (0,)

    stranded = ""
    try:
        wait("all tasks to end", ended, seconds=120)
    except TimeoutError:
        stranded = "some"
    with new.connect_to("tasks") as connection:
        # Of the tasks that were accepted after the promotion.
        (claimed,) = connection.execute(
            "SELECT extract(epoch FROM min(started_at))::float8 FROM longhaul.tasks WHERE started_at >= to_timestamp(%s)",
            [promoted],
        ).fetchone()
        (there,) = connection.execute(
            "SELECT count(*) FROM longhaul.tasks WHERE id = ANY (%s) AND state = 'Succeeded'", [ids]
        ).fetchone()
        (failures,) = connection.execute("SELECT count(*) FROM longhaul.tasks WHERE state = 'Failed'").fetchone()
        (attempts,) = connection.execute("SELECT count(*) FROM longhaul.tasks WHERE attempt > 1").fetchone()
        # Every worker has come over, not only those that claimed.
        (workers,) = connection.execute(
            "SELECT count(*) FROM longhaul.worker WHERE lost_at IS NULL AND stopped_at IS NULL AND heartbeat_at > to_timestamp(%s)",
            [promoted],
        ).fetchone()
        (misplaced,) = connection.execute("SELECT count(*) FROM longhaul.misplaced()").fetchone()
        (repaired,) = connection.execute("SELECT count(*) FROM longhaul.repaired").fetchone()
    fleet.stop()
    # The old primary comes back as a standby.
    if fault is kill:
        old.start()
    old.signal(signal.SIGCONT)
    cluster.wait_for_members()
    lost = len(ids) - there - failures
    print(
        f"| {name} | {len(ids)} | {lost} | {stranded or misplaced + repaired} | {failures} | {attempts} "
        f"| {promoted - failed:.1f} | {first - promoted:.2f} | {claimed - promoted:.2f} |",
        flush=True,
    )
    if workers < WORKERS:
        print(f"only {workers} of {WORKERS} workers are back", flush=True)
    return workers >= WORKERS and not (stranded or misplaced or repaired or failures or attempts) and (lost == 0 or not synchronous)


def main():
    program, tools, *names = sys.argv[1:]
    program = str(pathlib.Path(program).resolve())
    cluster = Cluster(tools)
    try:
        cluster.start()
        with cluster.primary().connect() as connection:
            connection.execute("CREATE DATABASE tasks")
        print("| scenario | accepted | lost | stranded | falsely failed | attempts spent | promoted after s | first 202 after s | first claim after s |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
        kept = [play(name, program, cluster) for name in names or SCENARIOS]
    except BaseException:
        for log in sorted(cluster.directory.glob("*.log")) + sorted(cluster.directory.glob("*/patroni.log")):
            print(f"== {log.name}\n{log.read_text(errors='replace')[-2000:]}", file=sys.stderr)
        raise
    finally:
        cluster.stop()
    if not all(kept):
        sys.exit("a promise was broken: see the table")


main()
